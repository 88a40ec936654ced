"""The simulator's web application: the gateway's address, the cashier, and the control for tests."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from lapse.engine.clock import SYSTEM_CLOCK, Clock
from lapse.testing.alipay.control import Control
from lapse.testing.alipay.gateway import Alipay, SimulatorSettings


def create_app(settings: SimulatorSettings, *, clock: Clock = SYSTEM_CLOCK) -> Starlette:
    """Return the application; `state.alipay` is its `Alipay`. Raises ConfigError for a text that is no key."""
    alipay = Alipay(settings, clock)
    control = Control(alipay)

    @asynccontextmanager
    async def life(_app: Starlette) -> AsyncIterator[None]:
        yield
        await alipay.notifier.close()

    app = Starlette(
        lifespan=life,
        routes=[
            Route("/gateway.do", alipay.gateway, methods=["GET", "POST"]),
            Route("/", alipay.cashier.home),
            Route("/cashier/{token}", alipay.cashier.show),
            Route("/cashier/{token}/{action}", alipay.cashier.press, methods=["POST"]),
            Route("/control/trades", control.trades),
            Route("/control/faults", control.change_faults, methods=["PUT"]),
            Route("/control/rotate", control.rotate, methods=["POST"]),
            Route("/control/refund", control.refund, methods=["POST"]),
            Route("/control/notify", control.notify, methods=["POST"]),
            Mount("/static", StaticFiles(packages=[("lapse.testing.alipay", "static")])),
        ],
    )
    app.state.alipay = alipay
    return app
