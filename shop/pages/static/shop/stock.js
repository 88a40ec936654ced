// The products: their stock updates itself, and the cart is filled without leaving the page.
import { fetchPage, follow } from "./live.js";

const shelf = document.querySelector("[data-stock-url]");
const { many, few, none, fewUpTo } = shelf.dataset;

function show(product, available) {
  if (Number(product.dataset.available) === available) return;
  product.dataset.available = available;
  const text = !available ? none : available <= Number(fewUpTo) ? few : many;
  product.querySelector("[data-stock-text]").textContent = text.replace("{n}", available);
  const add = product.querySelector("[data-add-to-cart]");
  if (add) add.disabled = !available;
  const quantity = product.querySelector("input[name=quantity]");
  if (quantity) quantity.max = Math.max(1, available);
}

function onStock(stock) {
  for (const product of shelf.querySelectorAll("[data-sku]")) {
    if (product.dataset.sku in stock) show(product, stock[product.dataset.sku]);
  }
}

async function poll() {
  try {
    const page = await fetchPage();
    onStock(Object.fromEntries([...page.querySelectorAll("[data-sku]")].map(
      (product) => [product.dataset.sku, Number(product.dataset.available)],
    )));
  } catch {
    // The shop cannot be reached at the moment: the next poll may succeed.
  }
}

const toast = document.querySelector("[data-added]");
let fading = 0;
shelf.addEventListener("submit", async (event) => {
  if (!event.target.matches("[data-add-form]")) return;
  event.preventDefault();
  const form = event.target;
  try {
    const response = await fetch(form.action, {
      method: "POST", body: new FormData(form), headers: { Accept: "application/json" },
    });
    const added = await response.json();
    document.querySelectorAll("[data-cart-count]").forEach((count) => { count.textContent = added.count; });
    toast.textContent = added.message;
    toast.classList.toggle("error", !response.ok);
    clearTimeout(fading);
    fading = setTimeout(() => { toast.textContent = ""; }, 6000);
  } catch {
    form.submit(); // the page that follows says what is wrong
  }
});

follow(shelf.dataset.stockUrl, "stock", onStock, poll);
