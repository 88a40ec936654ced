"""The migration's one operation: the table of a timer that lives in the orders' own database."""

import logging
from typing import Any, cast

from django.db import router
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState

from lapse.engine.errors import LapseError
from lapse.engine.timer import TransactionalTimer
from lapse.integrations.django.settings import timer
from lapse.integrations.django.timer_setting import timer_is_transactional

log = logging.getLogger("lapse")

TABLE = "lapse_deadline"


class DeadlineTable(Operation):
    """Makes the table where LAPSE_TIMER names the very database that is migrated, and nothing anywhere else.

    Timers make their tables by themselves, so this is for databases in which only migrations may. Where the timer
    cannot be asked where it is, nothing is made and a warning says so.
    """

    reversible = True
    reduces_to_sql = True

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """Change no model: there is none."""

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,  # noqa: ARG002 - Django's signature
        to_state: ProjectState,  # noqa: ARG002 - as above
    ) -> None:
        """Make the table; one that is there stays as it is."""
        _run(app_label, schema_editor, drop=False)

    def database_backwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,  # noqa: ARG002 - as above
        to_state: ProjectState,  # noqa: ARG002 - as above
    ) -> None:
        """Remove it, with what was armed: the sweep finds the orders, and the next use makes it again."""
        _run(app_label, schema_editor, drop=True)

    def describe(self) -> str:
        """Return what it does, as `migrate --plan` shows it."""
        return "Make the timer's table, where LAPSE_TIMER is in this database"


def _run(app_label: str, editor: BaseDatabaseSchemaEditor, *, drop: bool) -> None:
    connection: Any = editor.connection
    if not router.allow_migrate(connection.alias, app_label) or not timer_is_transactional():
        return
    try:
        opened = cast(TransactionalTimer, timer())
        statements = opened.schema(drop=drop) if opened.is_beside(connection) else ()
    except LapseError as error:
        log.warning("no table for the timer is made or removed by this migration: %s", error)
        return
    if (TABLE in connection.introspection.table_names()) is drop:
        for statement in statements:
            editor.execute(statement)
