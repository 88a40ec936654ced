"""What the cashier's page says, in English and in Simplified Chinese."""

from starlette.requests import Request

WORDS = {
    "en": {
        "language": "English",
        "name": "Alipay simulator",
        "warning": "Simulator. No real money moves here.",
        "home": "Alipay simulator",
        "home_more": "This is where the shop’s payment links lead. Open one from an order.",
        "refused": "The link was refused",
        "for": "For",
        "number": "Trade number",
        "until": "To be paid before",
        "zone": "(China)",
        "seconds": "% s left",
        "open": "Pay the shop",
        "open_more": "Scanning creates the trade. Until then the shop’s question is answered by “does not exist”.",
        "waiting": "Confirm the payment",
        "waiting_more": "Scanned. The trade waits for you to pay.",
        "paid": "Paid",
        "paid_more": "The payment is done, and the shop is being told.",
        "over": "It cannot be paid any more",
        "over_more": "The time is over, or the shop has closed it. No money was taken.",
        "left": "You left",
        "left_more": "You left without paying. The link is good until its time is over.",
        "scan": "Scan the code",
        "pay": "Pay %",
        "leave": "Leave without paying",
        "again": "Go on paying",
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
        "open_more": "扫码后才会创建交易；在此之前，商店查询的结果是“交易不存在”。",
        "waiting": "确认付款",
        "waiting_more": "已扫码，交易等待您付款。",
        "paid": "付款成功",
        "paid_more": "付款已完成，正在通知商店。",
        "over": "已无法付款",
        "over_more": "付款时间已过，或商店已关闭交易。没有扣款。",
        "left": "您已离开",
        "left_more": "您已离开，没有付款。在时间结束前，链接仍然有效。",
        "scan": "扫码",
        "pay": "付款 %",
        "leave": "不付款，离开",
        "again": "继续付款",
        "back": "返回商店",
    },
}


def language(request: Request) -> str:
    """Choose by `?lang=`, or else by the first that the browser wants of those spoken here."""
    wanted = [request.query_params.get("lang", ""), *request.headers.get("accept-language", "").lower().split(",")]
    spoken = (one.strip()[:2] for one in wanted)
    return next((one for one in spoken if one in WORDS), "en")
