"""`python -m lapse.testing.alipay`: the simulator as a program.

Without `--private-key` it makes a key pair of its own. A shop needs the public half, which `--write-public-key` stores.
With `--certificates` it issues certificates, which a shop in the mode of certificates needs.
"""

import argparse
from pathlib import Path

import uvicorn

from lapse.engine.errors import ConfigError
from lapse.testing.alipay import SimulatorSettings, create_app, new_key_pair
from lapse.testing.alipay.authority import Authority
from lapse.testing.alipay.certified import Certified
from lapse.testing.alipay.gateway import APP_ID, SELLER_ID
from lapse.testing.alipay.keys import pair_of

DEFAULT_PACE = 0.01


def main() -> None:
    """Read the arguments and serve until stopped."""
    parser = argparse.ArgumentParser(prog="python -m lapse.testing.alipay", description="A simulator of Alipay.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8100)
    parser.add_argument("--public-key", type=Path, required=True, help="PEM file: the shop's public key")
    parser.add_argument("--private-key", type=Path, help="PEM file: the simulator's own key (default: a new key)")
    parser.add_argument("--write-public-key", type=Path, help="where to store the simulator's public key as PEM")
    parser.add_argument(
        "--certificates", type=Path, help="folder: issue certificates and store them here, named as Alipay names them"
    )
    parser.add_argument("--app-id", default=APP_ID)
    parser.add_argument("--seller-id", default=SELLER_ID)
    parser.add_argument(
        "--pace",
        type=float,
        default=DEFAULT_PACE,
        help="factor on the pauses between a notify's sendings (%(default)s)",
    )
    options = parser.parse_args()
    try:
        own = pair_of(options.private_key.read_text()) if options.private_key else new_key_pair()
        app = create_app(
            SimulatorSettings(
                app_public_key=options.public_key.read_text(),
                private_key=own.private,
                app_id=options.app_id,
                seller_id=options.seller_id,
                pace=options.pace,
                authority=Authority() if options.certificates else None,
            )
        )
        if options.certificates:
            _store(app.state.alipay.certified, options.certificates, options.app_id)
        if options.write_public_key:
            options.write_public_key.write_text(own.public)
    except (ConfigError, OSError) as error:
        parser.error(str(error))
    uvicorn.run(
        app, host=options.host, port=options.port, log_level="warning", access_log=False, timeout_graceful_shutdown=2
    )


def _store(certified: Certified, folder: Path, app_id: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        f"appCertPublicKey_{app_id}.crt": certified.settings["app_certificate"],
        "alipayCertPublicKey_RSA2.crt": certified.settings["alipay_certificate"],
        "alipayRootCert.crt": certified.settings["root_certificates"],
    }
    for name, text in texts.items():
        (folder / name).write_text(text)


if __name__ == "__main__":
    main()
