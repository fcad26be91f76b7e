"""A path and a method find their handler, or are refused by name."""

import pytest
from aiohttp import web

from edge.http.routes import Routes


async def tasks(_request: web.BaseRequest) -> web.Response:
    return web.Response()


async def events(_request: web.BaseRequest) -> web.Response:
    return web.Response()


ROUTES = Routes({"/v1/tasks": {"POST": tasks}, "/v1/tasks/{task_id}/events": {"GET": events, "PUT": tasks}})


def test_a_path_finds_its_handler_and_its_task_id() -> None:
    assert ROUTES.find("POST", "/v1/tasks") == (tasks, "")
    assert ROUTES.find("GET", "/v1/tasks/a b/events") == (events, "a b")


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
