"use strict";

// Buttons that copy the text of an element. Without scripts they are hidden.
(() => {
	for (const button of document.querySelectorAll("button[data-copy]")) {
		const said = document.getElementById(button.getAttribute("aria-describedby"));
		button.hidden = false;
		button.addEventListener("click", async () => {
			const from = document.getElementById(button.dataset.copy);
			try {
				await navigator.clipboard.writeText(from.textContent);
				said.textContent = "Copied.";
			} catch {
				getSelection().selectAllChildren(from);
				said.textContent = "Selected: copy it with the keyboard.";
			}
		});
	}
})();
