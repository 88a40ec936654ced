// A quantity that is changed is sent at once; without this there is the button.
const form = document.querySelector("[data-cart]");
if (form) {
  form.querySelector("[data-update]").hidden = true;
  form.addEventListener("change", () => form.requestSubmit());
}
