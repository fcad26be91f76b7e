"""Web pages may call an edge only when an operator named them."""

import aiohttp
import pytest
from twin_edge import twin_edge

from edge.settings import EdgeSettings

PAGE = "https://app.example.com"
ASKED = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}


async def test_nobodys_page_may_call_by_default() -> None:
    async with twin_edge() as twin, aiohttp.ClientSession(twin.url) as http:
        async with http.options("/v1/tasks", headers={"Origin": PAGE} | ASKED) as response:
            assert response.status == 401  # an ordinary request without a key
            assert not any(name.startswith("Access-Control") for name in response.headers)
        async with http.get("/healthz", headers={"Origin": PAGE}) as response:
            assert "Access-Control-Allow-Origin" not in response.headers


async def test_a_named_page_may_ask_and_read_answers_refusals_and_streams() -> None:
    async with twin_edge(cors_origins=(PAGE,)) as twin, aiohttp.ClientSession(twin.url) as http:
        async with http.options("/v1/tasks", headers={"Origin": PAGE} | ASKED) as response:
            assert (response.status, response.headers["Access-Control-Allow-Origin"]) == (204, PAGE)
            assert "Authorization" in response.headers["Access-Control-Allow-Headers"]
            assert "Access-Control-Allow-Credentials" not in response.headers
        key = {"Authorization": f"Bearer {twin.key}", "Origin": PAGE}
        for path, status, headers in (
            ("/v1/intents", 200, key),
            ("/v1/tasks/none.", 400, key),
            ("/v1/models", 401, {"Origin": PAGE}),
        ):
            async with http.get(path, headers=headers) as response:
                assert (response.status, response.headers["Access-Control-Allow-Origin"]) == (status, PAGE)
                assert response.headers["Vary"] == "Origin"
                assert "X-Request-Id" in response.headers["Access-Control-Expose-Headers"]


async def test_another_page_is_told_nothing_and_a_star_is_everybody() -> None:
    async with twin_edge(cors_origins=(PAGE,)) as twin, aiohttp.ClientSession(twin.url) as http:
        for origin in ("https://evil.example.com", "https://app.example.com.evil.com", "null", PAGE.upper()):
            async with http.options("/v1/tasks", headers={"Origin": origin} | ASKED) as response:
                assert (response.status, response.headers["Vary"]) == (204, "Origin")
                assert "Access-Control-Allow-Origin" not in response.headers
    page = {"Origin": "https://any.example.com"}
    async with (
        twin_edge(cors_origins=("*",)) as twin,
        aiohttp.ClientSession(twin.url) as http,
        http.get("/healthz", headers=page) as response,
    ):
        assert response.headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize("wrong", ["app.example.com", "https://app.example.com/", "https://*.example.com", "null"])
def test_what_is_no_origin_is_refused_when_it_is_configured(wrong: str) -> None:
    with pytest.raises(ValueError, match="not an origin"):
        EdgeSettings(cors_origins=(wrong,))
