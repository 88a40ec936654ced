"""The texts of the cashier's page, in English and in Simplified Chinese."""

from starlette.requests import Request

MESSAGES = {
    "en": {
        "language": "English",
        "name": "Alipay simulator",
        "warning": "Simulator. No real money moves here.",
        "home": "Alipay simulator",
        "home_more": "This is where the shop’s payment links lead. Open one from an order.",
        "refused": "The link was refused",
        "for": "For",
        "number": "Trade number",
        "until": "Pay before",
        "zone": "(China)",
        "seconds": "% s left",
        "open": "Pay the shop",
        "open_more": "Scanning creates the trade. Until then Alipay answers the shop’s query with “does not exist”.",
        "waiting": "Confirm the payment",
        "waiting_more": "The code is scanned. The trade waits for your payment.",
        "paid": "Paid",
        "paid_more": "The payment is complete. The shop is being notified.",
        "over": "This link cannot be paid any more",
        "over_more": "The time to pay is over, or the shop has closed the trade. No money was taken.",
        "left": "You left",
        "left_more": "You left without paying. You can use the link until its time is over.",
        "scan": "Scan the code",
        "pay": "Pay %",
        "leave": "Leave without paying",
        "again": "Continue to pay",
        "back": "Back to the shop",
    },
    "zh": {
        "language": "中文",
        "name": "支付宝模拟器",
        "warning": "这是模拟器，不会发生真实扣款。",
        "home": "支付宝模拟器",
        "home_more": "商店的付款链接会打开这里。请从订单页面进入。",
        "refused": "链接被拒绝",
        "for": "商品",
        "number": "商户订单号",
        "until": "请在此时间前付款：",
        "zone": "（北京时间）",
        "seconds": "剩余 % 秒",
        "open": "向商店付款",
        "open_more": "扫码后才会创建交易；在此之前，支付宝对商店查询的回答是“交易不存在”。",
        "waiting": "确认付款",
        "waiting_more": "已扫码，交易等待您付款。",
        "paid": "付款成功",
        "paid_more": "付款已完成，正在通知商店。",
        "over": "此链接已无法付款",
        "over_more": "付款时间已过，或商店已关闭交易。没有扣款。",
        "left": "您已离开",
        "left_more": "您已离开，没有付款。付款时间结束前，您仍可使用此链接。",
        "scan": "扫码",
        "pay": "付款 %",
        "leave": "不付款，离开",
        "again": "继续付款",
        "back": "返回商店",
    },
}


def language(request: Request) -> str:
    """Return the language of `?lang=`, else the first one that the browser accepts and this page has, else English."""
    wanted = [request.query_params.get("lang", ""), *request.headers.get("accept-language", "").lower().split(",")]
    return next((code for one in wanted if (code := one.strip()[:2]) in MESSAGES), "en")
