// Shows another part of the list, or another choice, without loading the page
// anew. Without this script the form does the same.
(() => {
	"use strict";
	const main = document.querySelector("main");
	let asked = 0;
	let timer;

	async function show(form, name, value, focus) {
		clearTimeout(timer);
		const mine = ++asked;
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
		const now = document.activeElement;
		const typing = now && now.id === "q" ? now.value : null;
		const next = new DOMParser().parseFromString(text, "text/html").getElementById("picker");
		if (!next) return;
		form.replaceWith(next);
		if (typing !== null) {
			const q = document.getElementById("q");
			q.value = typing;
			q.focus();
			q.setSelectionRange(typing.length, typing.length);
		} else {
			(document.getElementById(focus) || document.getElementById("answer")).focus({ preventScroll: true });
		}
	}

	main.addEventListener("submit", (event) => {
		const button = event.submitter;
		if (!button || button.hasAttribute("formaction")) return;
		event.preventDefault();
		if (button.name === "add" || button.name === "remove" || button.name === "do") {
			show(event.target, button.name, button.value, button.id);
		} else {
			show(event.target, button.name, button.value, "q");
			main.scrollIntoView();
		}
	});
	main.addEventListener("input", (event) => {
		if (event.target.id !== "q") return;
		clearTimeout(timer);
		timer = setTimeout(() => show(event.target.form, "do", "search", "q"), 200);
	});
})();
