// Shows the buttons that copy. Without this script everything can be selected.
"use strict";
{
	const said = document.getElementById("said");
	const { copied, selected } = said.dataset;

	function select(source) {
		const range = document.createRange();
		range.selectNodeContents(source);
		getSelection().removeAllRanges();
		getSelection().addRange(range);
	}

	for (const button of document.querySelectorAll(".copy")) {
		const source = document.getElementById(button.dataset.of);
		const word = button.textContent;
		let timer;
		button.hidden = false;
		source.removeAttribute("tabindex"); // whoever has the button needs no second stop
		button.addEventListener("click", async () => {
			let done = copied;
			try {
				await navigator.clipboard.writeText(source.textContent);
			} catch { // not over http, nor in a frame that may not
				select(source);
				if (!document.execCommand("copy")) done = selected;
			}
			button.textContent = done;
			said.textContent = "";
			said.textContent = done;
			clearTimeout(timer);
			timer = setTimeout(() => { button.textContent = word; }, 2500);
		});
	}
}
