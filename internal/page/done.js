"use strict";
{
  const page = window.opener || (window.parent === window ? null : window.parent);
  const button = document.getElementById("done");
  // Where the platform's page is, is not known for sure; this is no secret.
  const close = () => page.postMessage({ subject: "org.imsglobal.lti.close" }, "*");
  button.hidden = !page;
  button.addEventListener("click", close);
  if (page && document.body.dataset.done === "now") close();
}
