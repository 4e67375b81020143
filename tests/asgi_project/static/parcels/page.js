/* Two ways of asking the server for more, as pages do. */

const output = document.querySelector("output");

document.querySelector("#by-fetch").addEventListener("click", async () => {
  const response = await fetch("/answer/fetched/");
  output.textContent = (await response.json()).customer;
});

document.querySelector("#by-xhr").addEventListener("click", () => {
  const request = new XMLHttpRequest();
  request.open("GET", "/answer/requested/");
  request.addEventListener("load", () => {
    output.textContent = JSON.parse(request.responseText).customer;
  });
  request.send();
});
