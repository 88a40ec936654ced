"""`python -m lapse.testing.alipay`: the simulator as a program.

Without `--private-key` it makes a key pair of its own. A shop needs the public half, which `--write-public-key` stores.
With `--certificates` it issues certificates, which a shop in the mode of certificates needs.
"""

import argparse
import socket
from pathlib import Path

import uvicorn

from lapse.engine.errors import ConfigError
from lapse.network.loopback import is_loopback
from lapse.testing.alipay import FAULTS, SimulatorSettings, create_app, new_key_pair
from lapse.testing.alipay.authority import Authority
from lapse.testing.alipay.certified import Certified
from lapse.testing.alipay.gateway import APP_ID, SELLER_ID
from lapse.testing.alipay.keys import pair_of

DEFAULT_PACE = 0.01
ABOUT = "A simulator of Alipay's page pay, for demos and tests. No money is involved, and everything is in memory."
EPILOG = """\
The shop's settings: gateway_url is http://127.0.0.1:8100/gateway.do, app_id and seller_id as above,
and alipay_public_key is what --write-public-key has stored.

Open http://127.0.0.1:8100/ to see each trade and its notifies, to scan, pay and refund, and to
switch faults, for all trades or for one. A program does the same by JSON:

  GET    /control/faults            what is on, and what there is
  PUT    /control/faults            {"notify": "drop"}               for all trades
  PUT    /control/faults/NUMBER     {"system_error": ["close"]}      of one trade; ?times=2 for two calls
  DELETE /control/faults            switches everything off
  GET    /control/trades            each trade with its notifies and the shop's answers
  POST   /control/refund            {"out_trade_no": "NUMBER", "amount": "7.00"}
  POST   /control/notify            {"out_trade_no": "NUMBER", "changes": {"app_id": "1"}}"""


def main() -> None:
    """Read the arguments and serve until stopped."""
    parser = _parser()
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
                public_url=options.public_url or in_network(options.host, options.port),
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


def in_network(host: str, port: int) -> str:
    """Return the address under which a phone in the same network opens the simulator, "" if it cannot."""
    if host in ("0.0.0.0", "::"):  # noqa: S104 - a comparison: what a person has chosen
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(("192.0.2.1", 9))  # sends nothing: the system only chooses the way out
            except OSError:
                return ""
            host = str(probe.getsockname()[0])
    return "" if is_loopback(host) else f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lapse.testing.alipay",
        description=ABOUT,
        epilog=f"{EPILOG}\n\nFaults: {', '.join(FAULTS)}.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s); 0.0.0.0 for phones")
    parser.add_argument("--port", type=int, default=8100, help="port to listen on (%(default)s)")
    parser.add_argument(
        "--public-url", default="", help="the address that a phone opens by the QR code (default: by --host)"
    )
    parser.add_argument("--public-key", type=Path, required=True, help="PEM file: the shop's public key")
    parser.add_argument("--private-key", type=Path, help="PEM file: the simulator's own key (default: a new key)")
    parser.add_argument("--write-public-key", type=Path, help="where to store the simulator's public key as PEM")
    parser.add_argument(
        "--certificates", type=Path, help="folder: issue certificates and store them here, named as Alipay names them"
    )
    parser.add_argument("--app-id", default=APP_ID, help="the only app that the simulator knows (%(default)s)")
    parser.add_argument("--seller-id", default=SELLER_ID, help="the seller that notifies name (%(default)s)")
    parser.add_argument(
        "--pace",
        type=float,
        default=DEFAULT_PACE,
        help="factor on the pauses between the eight sendings of a notify; 1 is 25 hours in all (%(default)s)",
    )
    return parser


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
