"""Models and the steps of their rollouts as JSON, over a real server."""

from __future__ import annotations

import pytest

from orchestrator.core.rollout import Hit, Rail
from tests.integration.http.conftest import Running, Serve
from tests.support.model_server import digest_of

API = "/api/v1/models"
BY = {"who": "somebody@somewhere", "why": "to see"}


async def test_the_whole_way(serve: Serve) -> None:
    async with serve() as running:
        client = running.client
        listed = (await client.get(API)).json()["models"]
        assert [each["model"] for each in listed] == ["labels", "shots"]
        assert [each["state"] for each in listed[0]["versions"]] == [
            "VERSION_STATE_STABLE",
            "VERSION_STATE_AVAILABLE",
            "VERSION_STATE_AVAILABLE",
        ]
        staged = await client.post(f"{API}/labels:stage", json={"version": 2, **BY})
        assert staged.status_code == 200
        found = staged.json()["model"]["versions"][1]
        assert (found["state"], found["stage"]) == ("VERSION_STATE_CANDIDATE", "ROLLOUT_STAGE_STAGED")
        assert (found["digest"], found["licence"], found["parity"]) == (
            digest_of("labels", 2),
            "Apache-2.0",
            {"scores": 0.25},
        )
        for verb, share in (("shadow", 0.5), ("canary", 0.25)):
            answer = await client.post(f"{API}/labels:{verb}", json={"share": share, **BY})
            assert answer.json()["model"]["versions"][1]["share"] == share
        await client.post(f"{API}/labels:promote", json={"version": 2, **BY})
        assert (await client.get(f"{API}/labels")).json()["model"]["versions"][1]["state"] == "VERSION_STATE_STABLE"
        await client.post(f"{API}/labels:rollback", json=BY)
        steps = (await client.get(f"{API}/labels/steps")).json()["steps"]
        assert [step["action"].removeprefix("ROLLOUT_ACTION_") for step in steps] == [
            "ROLLBACK",
            "PROMOTE",
            "CANARY",
            "SHADOW",
            "STAGE",
        ]
        assert {(step["who"], step["why"]) for step in steps} == {("somebody@somewhere", "to see")}
        assert steps[-1]["evidence"] == {"scores": "0.001"}


async def test_history_comes_page_by_page(serve: Serve) -> None:
    async with serve() as running:
        await running.client.post(f"{API}/labels:stage", json={"version": 2, **BY})
        for number in range(1, 5):
            await running.client.post(f"{API}/labels:canary", json={"share": number / 10, **BY})
        pages, token = [], ""
        while True:
            query = {"page_size": "2", "page_token": token} if token else {"page_size": "2"}
            page = (await running.client.get(f"{API}/labels/steps", params=query)).json()
            pages.append([step["revision"] for step in page["steps"]])
            token = page["nextPageToken"]
            if not token:
                break
        assert pages == [["5", "4"], ["3", "2"], ["1"]]
        bad = await running.client.get(f"{API}/labels/steps", params={"page_token": "x"})
        assert bad.status_code == 400


async def test_a_version_that_hits_a_rail(serve: Serve) -> None:
    async with serve() as running:
        running.models.unfit["labels", 2] = Hit(Rail.PARITY, "scores differ", {"scores": 0.4})
        answer = await running.client.post(f"{API}/labels:stage", json={"version": 2, **BY})
        assert answer.status_code == 409
        (info,) = [each for each in answer.json()["details"] if each["@type"].endswith("ErrorInfo")]
        assert info["reason"] == "VERSION_REJECTED"
        assert info["metadata"] == {"model": "labels", "version": "2", "rail": "PARITY"}
        (step,) = (await running.client.get(f"{API}/labels/steps")).json()["steps"]
        assert (step["rail"], step["detail"], step["automatic"]) == ("PARITY", "scores differ", False)


@pytest.mark.parametrize(
    ("path", "body", "status", "reason"),
    [
        ("labels:promote", BY, 409, "ROLLOUT_STEP_REFUSED"),
        ("labels:canary", {"share": 0.1, **BY}, 409, "ROLLOUT_STEP_REFUSED"),
        ("nothing:promote", BY, 404, "NOT_FOUND"),
        ("..:promote", BY, 404, "NOT_FOUND"),
        ("labels:stage", {"version": 9, **BY}, 404, "NOT_FOUND"),
        ("labels:stage", {"version": 0, **BY}, 400, "INVALID_REQUEST"),
        ("labels:stage", {"version": -1, **BY}, 400, "INVALID_REQUEST"),
        ("labels:rollback", {"version": -1, **BY}, 400, "INVALID_REQUEST"),
        ("labels:stage", {"version": 2}, 400, "INVALID_REQUEST"),
        ("labels:stage", {"version": 2, "who": "x" * 129}, 400, "INVALID_REQUEST"),
        ("labels:stage", {"version": 2, "who": "x", "why": "y" * 1025}, 400, "INVALID_REQUEST"),
        ("labels:stage", {"version": 2, "who": "x", "why": "\0"}, 400, "INVALID_REQUEST"),
    ],
)
async def test_refusals(serve: Serve, path: str, body: dict[str, object], status: int, reason: str) -> None:
    async with serve() as running:
        answer = await running.client.post(f"{API}/{path}", json=body)
        assert answer.status_code == status, answer.text
        assert reason in answer.text
        assert running.models.loaded == set()


async def test_no_step_is_taken_by_an_empty_request(serve: Serve) -> None:
    """Which any page that somebody visits could send."""
    async with serve() as running:
        await running.client.post(f"{API}/labels:stage", json={"version": 2, **BY})
        for verb in ("promote", "rollback"):
            assert (await running.client.post(f"{API}/labels:{verb}")).status_code == 400
        assert await revision(running) == "1"


async def revision(running: Running) -> str:
    return str((await running.client.get(f"{API}/labels")).json()["model"]["revision"])
