// Shows another part of the list, or another choice, without loading the page
// anew. Without this script the form does the same.
(() => {
	"use strict";
	const main = document.querySelector("main");
	let asked = 0;
	let timer;

	// written returns what stands in the fields of the choice, by item.
	function written(form) {
		const fields = new Map();
		for (const set of form.querySelectorAll("fieldset")) {
			const id = set.querySelector("[name=id]").value;
			for (const field of set.querySelectorAll("[name=title], [name=points]")) {
				fields.set(field.name + " " + id, field);
			}
		}
		return fields;
	}

	async function show(form, name, value, button) {
		clearTimeout(timer);
		const mine = ++asked;
		const before = document.activeElement;
		const data = new URLSearchParams(new FormData(form));
		data.append(name, value);
		let text;
		try {
			const answer = await fetch(form.action, { method: "POST", body: data, headers: { Accept: "text/html" } });
			if (!answer.ok) throw new Error(answer.status);
			text = await answer.text();
		} catch {
			if (mine === asked) { // the browser itself, which shows what is wrong
				const field = document.createElement("input");
				field.type = "hidden";
				field.name = name;
				field.value = value;
				form.append(field);
				form.submit();
			}
			return;
		}
		if (mine !== asked) return; // something newer is under way
		const next = new DOMParser().parseFromString(text, "text/html").getElementById("picker");
		if (!next) return;
		document.getElementById("results").replaceWith(next.querySelector("#results"));
		if (name === "add" || name === "remove") {
			const now = written(form);
			const choice = next.querySelector(".choice");
			document.querySelector(".choice").replaceWith(choice);
			// What was written meanwhile stays, and so does whoever writes.
			for (const [key, field] of written(form)) {
				const was = now.get(key);
				if (!was) continue;
				field.value = was.value;
				if (was === before) field.focus();
			}
		}
		if (document.activeElement === document.body) {
			(document.getElementById(button) || document.getElementById("q")).focus({ preventScroll: true });
		}
	}

	main.addEventListener("submit", (event) => {
		const button = event.submitter;
		if (!button || button.hasAttribute("formaction")) return;
		event.preventDefault();
		show(event.target, button.name, button.value, button.id);
		if (button.name === "go") main.scrollIntoView();
	});
	main.addEventListener("input", (event) => {
		if (event.target.id !== "q" || event.isComposing) return;
		clearTimeout(timer);
		timer = setTimeout(() => show(event.target.form, "do", "search", "q"), 200);
	});
	main.addEventListener("compositionend", (event) => {
		if (event.target.id === "q") event.target.dispatchEvent(new Event("input", { bubbles: true }));
	});
	// Enter in the fields of the choice is no search.
	main.addEventListener("keydown", (event) => {
		if (event.key === "Enter" && (event.target.name === "title" || event.target.name === "points")) event.preventDefault();
	});
})();
