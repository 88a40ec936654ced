// A changed quantity is sent at once. Without this script there is a button.
const form = document.querySelector("[data-cart]");
if (form) {
  form.querySelector("[data-update]").hidden = true;
  form.addEventListener("change", () => form.requestSubmit());
}
