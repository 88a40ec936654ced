// The second article's shop, as it has it: node nest_article.js REDIS_URL PORT SECONDS
//
// An order's hash goes to Redis under client:user:info:order:<id>, with a time to live. When its time is over the order's
// status becomes cancel_payment, the stock goes back and the statistics change. Nothing here knows anything of Lapse.
const http = require("node:http");
const Redis = require("ioredis");

const [url, port, seconds] = process.argv.slice(2);
const redis = new Redis(url);
const prefix = "client:user:info:order:";
const orders = {};
const shop = { stock: 100, statistics: { unpaid: 0, cancelled: 0 } };

async function create(order) {
  orders[order.id] = { ...order, status: "wait_payment" };
  shop.stock -= order.count;
  shop.statistics.unpaid += 1;
  await redis.hset(prefix + order.id, { id: order.id, count: order.count, status: "wait_payment" });
  await redis.expire(prefix + order.id, Number(seconds));
}

function expired(id) {
  const order = orders[id];
  if (!order) return 404;
  if (order.status === "wait_payment") {
    order.status = "cancel_payment";
    shop.stock += order.count;
    shop.statistics.unpaid -= 1;
    shop.statistics.cancelled += 1;
  }
  return 200;
}

http
  .createServer((request, response) => {
    let body = "";
    request.on("data", (part) => (body += part));
    request.on("end", async () => {
      let status = 200;
      if (request.url === "/orders" && request.method === "POST") await create(JSON.parse(body));
      else if (request.url === "/orders/expired") status = expired(JSON.parse(body).order.id);
      response.writeHead(status, { "content-type": "application/json" });
      response.end(JSON.stringify({ orders, shop }));
    });
  })
  .listen(Number(port), "127.0.0.1");
