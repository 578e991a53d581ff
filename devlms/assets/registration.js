"use strict";

// Waits until the tool says that it is done (LTI Dynamic Registration 1.0 §3.7),
// closes its window, and has the LMS say what has become of it. The tool is in the
// frame of this page, or in the window that the link here opens.
(() => {
	let opened;

	addEventListener("click", (event) => {
		const link = event.target.closest("a#tool");
		if (link) {
			event.preventDefault();
			opened = open(link.href, "_blank");
		}
	});

	addEventListener("message", ({ data, source }) => {
		const tool = document.querySelector("iframe.tool")?.contentWindow ?? opened;
		if (data?.subject !== "org.imsglobal.lti.close" || !tool || source !== tool) {
			return;
		}
		opened?.close();
		location.replace("?closed");
	});
})();
