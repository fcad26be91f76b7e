"""A path and a method find their handler, or are refused by name."""

import pytest
from aiohttp import web

from edge.http.routes import Route, Routes


async def tasks(_request: web.BaseRequest) -> web.Response:
    return web.Response()


async def events(_request: web.BaseRequest) -> web.Response:
    return web.Response()


TASKS, EVENTS = Route("tasks:submit", tasks), Route("tasks:read", events)
ROUTES = Routes({"/v1/tasks": {"POST": TASKS}, "/v1/tasks/{task_id}/events": {"GET": EVENTS, "PUT": TASKS}})


def test_a_path_finds_its_handler_and_its_task_id() -> None:
    assert ROUTES.find("POST", "/v1/tasks") == (TASKS, "")
    assert ROUTES.find("GET", "/v1/tasks/a b/events") == (EVENTS, "a b")


@pytest.mark.parametrize(
    "path",
    [
        "",
        "*",
        "/",
        "/v1",
        "/v1/tasks/",
        "/v1/tasks/a",
        "/v1/tasks//events",
        "/v1/tasks/a/events/",
        "//v1/tasks",
        "/x/y",
    ],
)
def test_what_is_not_there_is_not_found(path: str) -> None:
    with pytest.raises(web.HTTPNotFound):
        ROUTES.find("GET", path)


def test_another_method_is_told_which_are_allowed() -> None:
    with pytest.raises(web.HTTPMethodNotAllowed) as refused:
        ROUTES.find("DELETE", "/v1/tasks/a/events")
    assert refused.value.headers["Allow"] == "GET,PUT"
