"""`python -m lapse.testing.alipay`: the simulator as a program.

It makes a key pair of its own unless one is given; a shop needs the public half, which `--write-public-key` stores.
"""

import argparse
from pathlib import Path

import uvicorn

from lapse.engine.errors import ConfigError
from lapse.testing.alipay import SimulatorSettings, create_app, new_key_pair
from lapse.testing.alipay.app import APP_ID, SELLER_ID
from lapse.testing.alipay.keys import pair_of

DEFAULT_PACE = 0.01


def main() -> None:
    """Read the arguments and serve until stopped."""
    parser = argparse.ArgumentParser(prog="python -m lapse.testing.alipay", description="A simulator of Alipay.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8100)
    parser.add_argument("--public-key", type=Path, required=True, help="PEM file: the shop's public key")
    parser.add_argument("--private-key", type=Path, help="PEM file: the simulator's own key (a new one)")
    parser.add_argument("--write-public-key", type=Path, help="where to store the simulator's public key as PEM")
    parser.add_argument("--app-id", default=APP_ID)
    parser.add_argument("--seller-id", default=SELLER_ID)
    parser.add_argument(
        "--pace", type=float, default=DEFAULT_PACE, help="factor on the pauses between a notify's tries (%(default)s)"
    )
    given = parser.parse_args()
    try:
        own = pair_of(given.private_key.read_text()) if given.private_key else new_key_pair()
        app = create_app(
            SimulatorSettings(
                app_public_key=given.public_key.read_text(),
                private_key=own.private,
                app_id=given.app_id,
                seller_id=given.seller_id,
                pace=given.pace,
            )
        )
        if given.write_public_key:
            given.write_public_key.write_text(own.public)
    except (ConfigError, OSError) as error:
        parser.error(str(error))
    uvicorn.run(
        app, host=given.host, port=given.port, log_level="warning", access_log=False, timeout_graceful_shutdown=2
    )


if __name__ == "__main__":
    main()
