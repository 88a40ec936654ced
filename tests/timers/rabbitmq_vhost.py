"""A virtual host of one test, and what an operator does in it by the management API."""

import json
from base64 import b64encode
from http.client import HTTPConnection
from typing import Any
from urllib.parse import quote, urlsplit

from lapse.testing.servers import RabbitServer


class VirtualHost:
    """A new virtual host on a broker with the management plugin. `name` may hold any characters."""

    def __init__(self, server: RabbitServer, name: str) -> None:
        self.server = server
        self.name = name
        self._path = quote(name, safe="")
        self.request("PUT", f"/api/vhosts/{self._path}", {})
        self.permit("lapse", ".*", ".*", ".*")

    @property
    def url(self) -> str:
        """The timer's URL, with the address of the management API."""
        return f"{self.url_without_management}?management={self.server.management_url}"

    @property
    def url_without_management(self) -> str:
        """The timer's URL. There is no API at the default address, because the server has ports of its own."""
        return f"{self.server.url}/{self._path}"

    def url_of(self, user: str, password: str) -> str:
        """Return the timer's URL with another account."""
        return self.url.replace(f"lapse:{self.server.password}@", f"{user}:{password}@")

    def set_policy(self, definition: dict[str, Any], *, pattern: str = ".*", operator: bool = False) -> None:
        """Let a policy apply to all queues and exchanges whose name matches the pattern. It is called `all`."""
        kind, apply_to = ("operator-policies", "queues") if operator else ("policies", "all")
        body = {"pattern": pattern, "definition": definition, "apply-to": apply_to}
        self.request("PUT", f"/api/{kind}/{self._path}/all", body)

    def delete_policy(self) -> None:
        """Delete what `set_policy` made."""
        self.request("DELETE", f"/api/policies/{self._path}/all")

    def set_limit(self, limit: str, value: int) -> None:
        """Set a limit of the virtual host, such as max-queues."""
        self.request("PUT", f"/api/vhost-limits/{self._path}/{limit}", {"value": value})

    def add_user(self, user: str, password: str, *, tags: str = "") -> None:
        """Create an account without permissions."""
        self.request("PUT", f"/api/users/{user}", {"password": password, "tags": tags})

    def permit(self, user: str, configure: str, write: str, read: str) -> None:
        """Permit the account to configure, write and read what matches the patterns."""
        body = {"configure": configure, "write": write, "read": read}
        self.request("PUT", f"/api/permissions/{self._path}/{user}", body)

    def delete(self) -> None:
        """Delete the virtual host with its queues."""
        self.request("DELETE", f"/api/vhosts/{self._path}")

    def request(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Send a request to the management API as an administrator, and return the document in the answer, if any."""
        api = urlsplit(self.server.management_url)
        connection = HTTPConnection(api.hostname or "", api.port, timeout=30)
        account = b64encode(f"lapse:{self.server.password}".encode()).decode()
        headers = {"Authorization": f"Basic {account}", "Content-Type": "application/json"}
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        answer = connection.getresponse()
        document = answer.read()
        connection.close()
        assert answer.status < 300, f"{method} {path}: {answer.status} {document!r}"
        return json.loads(document) if document else None
