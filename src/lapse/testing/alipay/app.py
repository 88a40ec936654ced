"""The simulator's web application: the gateway's address, the cashier, the page of trades, the control for tests."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from lapse.engine.clock import SYSTEM_CLOCK, Clock
from lapse.testing.alipay.console import Console
from lapse.testing.alipay.control import Control
from lapse.testing.alipay.gateway import Alipay, SimulatorSettings


def create_app(settings: SimulatorSettings, *, clock: Clock = SYSTEM_CLOCK) -> Starlette:
    """Return the application; `state.alipay` is its `Alipay`. Raises ConfigError for a text that is no key."""
    alipay = Alipay(settings, clock)
    control, console = Control(alipay), Console(alipay)

    @asynccontextmanager
    async def life(_app: Starlette) -> AsyncIterator[None]:
        yield
        await alipay.notifier.close()

    app = Starlette(
        lifespan=life,
        routes=[
            Route("/gateway.do", alipay.gateway, methods=["GET", "POST"]),
            Route("/", console.home),
            Route("/faults", console.change_faults, methods=["POST"]),
            Route("/trade/{number}", console.trade),
            Route("/trade/{number}/faults", console.change_faults, methods=["POST"]),
            Route("/trade/{number}/{action}", console.press, methods=["POST"]),
            Route("/cashier/{token}", alipay.cashier.show),
            Route("/cashier/{token}/code", alipay.cashier.follow_code),
            Route("/cashier/{token}/{action}", alipay.cashier.press, methods=["POST"]),
            Route("/control/trades", control.trades),
            Route("/control/faults", control.faults),
            *(
                Route(path, address, methods=[method])
                for path in ("/control/faults", "/control/faults/{number}")
                for method, address in (("PUT", control.change_faults), ("DELETE", control.reset_faults))
            ),
            Route("/control/rotate", control.rotate, methods=["POST"]),
            Route("/control/refund", control.refund, methods=["POST"]),
            Route("/control/notify", control.notify, methods=["POST"]),
            Mount("/static", StaticFiles(packages=[("lapse.testing.alipay", "static")])),
        ],
    )
    app.state.alipay = alipay
    return app
