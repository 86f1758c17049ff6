"""The doctor's checks: each must be able to fail, and then says how to mend it."""

from __future__ import annotations

import hashlib
import json
import socket
import stat
from pathlib import Path

import onnx
import pytest
from typer.testing import CliRunner

from orchestrator.adapters.triton.repository import Repository
from orchestrator.cli import checks, machine
from orchestrator.cli.checks import Check, State
from orchestrator.cli.main import app

runner = CliRunner()


@pytest.mark.parametrize("state", [State.FAIL, State.WARN])
def test_a_fault_must_say_how_to_mend_it(state: State) -> None:
    with pytest.raises(ValueError, match="mend"):
        Check("x", state, "broken")


def test_shared_memory() -> None:
    assert checks.shared_memory(1 << 20).state is State.OK
    assert checks.shared_memory(1 << 60).state is State.FAIL
    assert checks.shared_memory(1, Path("/no/such/folder")).state is State.FAIL


def test_disk(tmp_path: Path) -> None:
    assert checks.disk("d", tmp_path / "not" / "yet", 1, "mend").state is State.OK
    assert checks.disk("d", tmp_path, 1 << 60, "mend").mend == "mend"


def test_open_files() -> None:
    assert checks.open_files(1).state is State.OK
    assert checks.open_files(1 << 62).state is State.WARN


@pytest.mark.parametrize(
    ("probe", "state"),
    [("raise SystemExit(0)", State.OK), ("raise SystemExit(3)", State.FAIL), ("raise OSError('refused')", State.FAIL)],
)
def test_the_sandbox_is_judged_by_its_child(probe: str, state: State) -> None:
    check = checks.sandbox(probe)
    assert check.state is state
    if "OSError" in probe:
        assert "refused" in check.found


def test_this_machine_locks_a_decoder() -> None:
    assert checks.sandbox().state is State.OK


def test_a_gpu_that_is_not_used_for_want_of_packages() -> None:
    assert checks.graphics(("no_such_package",), lambda library: False).state is State.INFO
    found = checks.graphics(("no_such_package", "json"), lambda library: True)
    assert (found.state, found.found.endswith("not used without no_such_package")) == (State.WARN, True)
    assert checks.graphics(("json",), lambda library: True).state is State.INFO


def test_a_remote_triton() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert machine.remote_triton(f"127.0.0.1:{port}").state is State.OK
    assert machine.remote_triton(f"127.0.0.1:{port}").state is State.FAIL
    assert machine.remote_triton("nonsense").state is State.FAIL


def test_a_triton_that_is_not_there_yet_is_no_fault(tmp_path: Path) -> None:
    assert machine.embedded_triton(tmp_path, fetch=False).state is State.INFO


def exported(repository: Path, name: str = "shots", number: int = 1) -> Path:
    version = repository / name / str(number)
    version.mkdir(parents=True)
    node = onnx.helper.make_node("Identity", ["a"], ["b"])
    ends = [onnx.helper.make_tensor_value_info(end, onnx.TensorProto.FLOAT, [1]) for end in "ab"]
    weights = onnx.helper.make_model(onnx.helper.make_graph([node], "same", ends[:1], ends[1:])).SerializeToString()
    (version / "model.onnx").write_bytes(weights)
    (version / "manifest.json").write_text(json.dumps({"digest": hashlib.sha256(weights).hexdigest()}))
    (repository / name / "config.pbtxt").write_text("version_policy { specific { versions: 1 } }")
    return version


def test_a_model_as_exported_is_fine(tmp_path: Path) -> None:
    exported(tmp_path)
    assert machine.model_fault(Repository(tmp_path), "shots") is None


def test_a_further_version_is_not_the_doctors_concern(tmp_path: Path) -> None:
    exported(tmp_path)
    (exported(tmp_path, number=2) / "model.onnx").write_bytes(b"others")
    assert machine.model_fault(Repository(tmp_path), "shots") is None


@pytest.mark.parametrize("fault", ["nothing", "no file", "no manifest", "bad manifest", "other bytes", "no config"])
def test_every_fault_of_a_model_is_found(tmp_path: Path, fault: str) -> None:
    if fault != "nothing":
        version = exported(tmp_path)
    match fault:
        case "no file":
            (version / "model.onnx").unlink()
        case "no manifest":
            (version / "manifest.json").unlink()
        case "bad manifest":
            (version / "manifest.json").write_text("[]")
        case "other bytes":
            (version / "model.onnx").write_bytes(b"others")
        case "no config":
            (tmp_path / "shots" / "config.pbtxt").unlink()
    check = machine.model_fault(Repository(tmp_path), "shots")
    assert check is not None
    assert check.state is State.FAIL
    assert check.mend.startswith("reelsift models export shots")


def test_an_empty_repository_fails_for_every_model_of_the_default_profile(tmp_path: Path) -> None:
    found = machine.models(machine.Settings(model_repository=tmp_path))
    assert len(found) >= 6
    assert {check.state for check in found} == {State.FAIL}


@pytest.mark.parametrize(
    ("found", "status"),
    [
        ([Check("a", State.OK, "fine"), Check("b", State.WARN, "low", "raise it"), Check("c", State.INFO, "none")], 0),
        ([Check("a", State.OK, "fine"), Check("b", State.FAIL, "gone", "bring it back")], 1),
    ],
)
def test_the_exit_status_tells_whether_something_needed_fails(
    found: list[Check], status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "examine", lambda settings, fetch: found)
    table = runner.invoke(app, ["doctor"])
    assert table.exit_code == status
    for check in found:
        assert check.found in table.stdout
        assert check.mend in table.stdout
    as_json = runner.invoke(app, ["doctor", "--json"])
    assert as_json.exit_code == status
    assert [line["state"] for line in json.loads(as_json.stdout)] == [check.state.value for check in found]


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    monkeypatch.setattr(checks.os, "access", lambda path, mode: False)  # root may write everywhere
    assert checks.disk("d", tmp_path, 1, "mend").state is State.FAIL
