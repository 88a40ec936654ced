"""The migration operation that creates the timer's table in the orders' database."""

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
    """Creates the table if LAPSE_TIMER names the database that is being migrated; otherwise does nothing.

    Timers create their tables themselves, so this is for databases where only migrations may create tables. If the
    timer cannot be opened, nothing is created and a warning is logged.
    """

    reversible = True
    reduces_to_sql = True

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """Do nothing: the operation has no model."""

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,  # noqa: ARG002 - Django's signature
        to_state: ProjectState,  # noqa: ARG002 - as above
    ) -> None:
        """Create the table. An existing table stays as it is."""
        _run(app_label, schema_editor, drop=False)

    def database_backwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,  # noqa: ARG002 - as above
        to_state: ProjectState,  # noqa: ARG002 - as above
    ) -> None:
        """Remove the table and its deadlines. The sweep still finds the orders; the next use creates the table."""
        _run(app_label, schema_editor, drop=True)

    def describe(self) -> str:
        """Return the description that `migrate --plan` shows."""
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
