"""WhiteNoise under an asynchronous server: each file is answered whole."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from whitenoise.middleware import WhiteNoiseMiddleware  # type: ignore[import-untyped]  # it ships no types


class StaticFiles(WhiteNoiseMiddleware):  # type: ignore[misc]  # for the same reason
    """Serves the static files. A file is read at once, because a blocking file iterator does not suit ASGI."""

    @staticmethod
    def serve(static_file: Any, request: HttpRequest) -> HttpResponse:  # noqa: ANN401  # WhiteNoise has no types
        """Answer one file with the headers that WhiteNoise chose."""
        found = static_file.get_response(request.method, request.META)
        if found.file is None:
            content = b""
        else:
            with found.file as file:
                content = file.read()
        response = HttpResponse(content, status=int(found.status))
        del response["Content-Type"]
        for name, value in found.headers:
            response[name] = value
        return response
