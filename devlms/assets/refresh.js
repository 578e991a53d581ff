"use strict";

// Keeps parts of a page up to date while it can be seen.
(() => {
	const every = 2000; // milliseconds
	const parts = document.currentScript.dataset.parts.split(" ");

	async function update() {
		const answer = await fetch(location.href, { cache: "no-store", redirect: "error" });
		if (!answer.ok) {
			return;
		}
		const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
		for (const id of parts) {
			const now = document.getElementById(id);
			const next = fresh.getElementById(id);
			// What is the same stays, with what somebody has selected in it; and so
			// does what the keyboard is in.
			if (next && now.innerHTML !== next.innerHTML && !now.contains(document.activeElement)) {
				now.replaceChildren(...next.childNodes);
			}
		}
	}

	async function forever() {
		if (!document.hidden) {
			try {
				await update();
			} catch {
				// The LMS is away; it may come back.
			}
		}
		setTimeout(forever, every);
	}

	setTimeout(forever, every);
})();
