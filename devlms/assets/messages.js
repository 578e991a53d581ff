"use strict";

// The platform's side of LTI Client Side postMessages 0.1 and LTI postMessage
// Storage 0.1. It runs in the page that shows an activity, which is the tool's
// parent or opener, and in the frame that keeps values for tools.
(() => {
	// The least that the specification lets a platform offer, per origin.
	const maxBytes = 4096;
	const maxKeys = 500;

	const { origins, frame } = document.currentScript.dataset;

	// What is kept, by key, for each origin of a registered tool. It is gone with
	// the page: login and launch both happen while that is open.
	const kept = new Map();
	for (const url of origins ? origins.split(" ") : []) {
		kept.set(new URL(url).origin, new Map());
	}

	const refusal = (code, message) => ({ error: { code, message } });
	const isText = (x) => typeof x === "string" && x !== "";
	const size = (text) => new TextEncoder().encode(text).length;

	function put(values, key, value) {
		if (value === undefined || value === null || value === "") {
			values.delete(key);
			return { key };
		}
		if (typeof value !== "string") {
			return refusal("bad_request", "value is not a string");
		}
		let bytes = size(key) + size(value);
		let keys = 1;
		for (const [k, v] of values) {
			if (k !== key) { // what is replaced makes room
				bytes += size(k) + size(v);
				keys++;
			}
		}
		if (bytes > maxBytes || keys > maxKeys) {
			return refusal("storage_exhaustion", `at most ${maxKeys} keys and ${maxBytes} bytes are kept`);
		}
		values.set(key, value);
		return { key, value };
	}

	function capabilities() {
		const list = [
			{ subject: "lti.capabilities" },
			{ subject: "lti.put_data", frame },
			{ subject: "lti.get_data", frame },
		];
		if (document.querySelector("iframe.tool")) {
			list.push({ subject: "lti.frameResize" });
		}
		return { supported_messages: list.map(({ subject, frame }) => (frame ? { subject, frame } : { subject })) };
	}

	function answer({ subject, message_id, key, value }, origin) {
		const values = kept.get(origin);
		if (!values) {
			return refusal("wrong_origin", `no tool that is registered here is at ${origin}`);
		}
		const isCapabilities = subject === "lti.capabilities";
		if (!isCapabilities && subject !== "lti.put_data" && subject !== "lti.get_data") {
			return refusal("unsupported_subject", "there is no such subject here");
		}
		if (!isCapabilities && frame) {
			return refusal("unsupported_subject", `values are kept in the frame ${frame}`);
		}
		if (!isText(message_id)) {
			return refusal("bad_request", "message_id is missing or not a string");
		}
		if (isCapabilities) {
			return capabilities();
		}
		if (!isText(key)) {
			return refusal("bad_request", "key is missing or not a string");
		}
		if (subject === "lti.put_data") {
			return put(values, key, value);
		}
		return { key, value: values.get(key) ?? null };
	}

	// resize asks nothing about origins: it is about the frame that sent the
	// message, whatever the tool has put there.
	function resize(height, source) {
		const tool = document.querySelector("iframe.tool");
		const pixels = Number(height);
		if (tool?.contentWindow === source && pixels > 0) {
			tool.style.height = Math.min(Math.max(pixels, 100), 5000) + "px";
		}
	}

	addEventListener("message", ({ data, origin, source }) => {
		const subject = data?.subject;
		// What is not about LTI may be a browser extension's, and answers to
		// answers would never end.
		if (typeof subject !== "string" || !subject.startsWith("lti.") || subject.endsWith(".response")) {
			return;
		}
		if (subject === "lti.frameResize") {
			resize(data.height, source); // unanswered, as in Canvas
			return;
		}
		// Without storage this is a platform of old: it keeps silent. So it does to
		// a window that is gone, and to one without an origin, which no answer can
		// be addressed to.
		if (!origins || !source || origin === "null") {
			return;
		}
		const response = { subject: subject + ".response", ...answer(data, origin) };
		if (isText(data.message_id)) {
			response.message_id = data.message_id;
		}
		source.postMessage(response, origin);
	});
})();
