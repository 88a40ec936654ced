"""Django's command line for the shop: `python shop/manage.py <command>` or `python -m shop.manage <command>`."""

import os
import sys
from pathlib import Path


def main() -> None:
    """Run the management command in the arguments."""
    # Started as a file, Python puts this folder first on the path; the package `shop` lies one folder higher.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
    # Only with the path set right.
    from django.core.exceptions import ImproperlyConfigured  # noqa: PLC0415
    from django.core.management import execute_from_command_line  # noqa: PLC0415

    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:  # its message names the variable; Django would add fifty lines of traceback
        sys.exit(f"shop: {error}")


if __name__ == "__main__":
    main()
