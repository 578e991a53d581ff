// Counts the right answers and reports them, which the line "browser on" of the
// Caddyfile allows. Whoever reads this file finds the answers in the page beside
// it: that is all right for an exercise, and wrong for an exam.
const quiz = document.getElementById("quiz");
const result = document.getElementById("result");

quiz.addEventListener("submit", async (event) => {
	event.preventDefault();
	const maximum = quiz.querySelectorAll("fieldset").length;
	const points = quiz.querySelectorAll("input[value='1']:checked").length;
	result.textContent = `${points} of ${maximum}. Telling your course …`;
	let told = "Your course could not be told. Please try again.";
	try {
		const answer = await fetch("/lti/score?wait=5s", {
			method: "POST",
			headers: { "Content-Type": "application/json" },
			body: JSON.stringify({ scoreGiven: points, scoreMaximum: maximum }),
		});
		const said = await answer.json();
		told = {
			delivered: "It is in your course's gradebook.",
			replaced: "It is in your course's gradebook.",
			queued: "Your course will be told as soon as it answers.",
			skipped: "You get no grade here, so nobody was told.",
		}[said.state] ?? `It was not taken: ${said.detail ?? said.reason}.`;
	} catch {
		// No answer, or none that can be read.
	}
	result.textContent = `${points} of ${maximum}. ${told}`;
});
