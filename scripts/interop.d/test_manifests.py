"""Statements of OpenSSF Model Signing: ours are signed and verified by model-signing, and theirs are checked by us."""

import json
import shutil

import pytest
import support


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    assert support.work_in("extra", "sign", "key", folder) is None
    return folder


@pytest.fixture
def model(fixtures, tmp_path):
    """A model with files in folders, one of them empty, and names that sort differently by folder and by byte."""
    folder = tmp_path / "model"
    shutil.copytree(fixtures / "hf-tiny", folder)
    for name, text in {"a/b.txt": "one", "a.txt": "two", "a/empty": "", "größe é.txt": "three", ".gitignore": "*"}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return folder


def verify(model, bundle, keys, *more):
    return support.work_in("extra", "sign", "verify", model, bundle, keys, *more)


@pytest.mark.parametrize("algorithm", ("sha256", "blake2b", "blake3"))
def test_our_statement_is_signed_and_verified(algorithm, model, keys, tmp_path):
    statement, bundle = tmp_path / "statement.json", tmp_path / "model.sig"
    statement.write_text(support.run("hash", "--format", "oms", "--algorithm", algorithm, model).out)
    how = ("files", "blake2") if algorithm == "blake2b" else ()
    assert support.work_in("extra", "sign", "statement", statement, bundle, keys) is None
    assert verify(model, bundle, keys, *how) is None
    support.run("hash", "--check", bundle, model)

    place = model / "a" / "b.txt"
    place.write_text("onf")
    assert "a/b.txt" in verify(model, bundle, keys, *how)
    support.run("hash", "--check", bundle, model, expect=1)
    place.write_text("one")
    assert verify(model, bundle, keys, *how) is None
    (model / "added").write_text("x")
    assert "added" in verify(model, bundle, keys, *how)
    support.run("hash", "--check", bundle, model, expect=1)


def test_a_statement_with_files_left_out(model, keys, tmp_path):
    (model / ".cache").mkdir()
    (model / ".cache" / "note").write_text("of a download")
    statement, bundle = tmp_path / "statement.json", tmp_path / "model.sig"
    statement.write_text(support.run("hash", "--format", "oms", "--exclude", "*.txt", model).out)
    assert support.work_in("extra", "sign", "statement", statement, bundle, keys) is None
    assert verify(model, bundle, keys) is None
    (model / "a.txt").write_text("is not in it")
    assert verify(model, bundle, keys) is None
    support.run("hash", "--check", bundle, model)


def test_a_statement_of_linked_files(model, keys, tmp_path):
    blob = tmp_path / "blob"
    (model / "a.txt").rename(blob)
    (model / "a.txt").symlink_to(blob)
    statement, bundle = tmp_path / "statement.json", tmp_path / "model.sig"
    statement.write_text(support.run("hash", "--format", "oms", model).out)
    assert support.work_in("extra", "sign", "statement", statement, bundle, keys) is None
    assert verify(model, bundle, keys, "links") is None
    blob.write_text("twa")
    assert "a.txt" in verify(model, bundle, keys, "links")


@pytest.mark.parametrize("inside", (False, True))
@pytest.mark.parametrize("method, algorithm", (("files", "sha256"), ("files", "blake3"), ("files", "blake2"), ("1000000", "sha256"), ("4096", "sha256"), ("4096", "blake2")))
def test_their_bundle_is_checked(method, algorithm, inside, model, keys, tmp_path):
    how = () if method == "files" and algorithm != "blake2" else (method, algorithm)
    bundle = (model if inside else tmp_path) / "model.sig"
    assert support.work_in("extra", "sign", "sign", model, bundle, keys, method, algorithm) is None
    assert verify(model, bundle, keys, *how) is None
    checked = support.run("hash", "--check", bundle, model).document["hash"]
    assert any("signature" in note for note in checked["notes"]), checked["notes"]
    support.run("verify", "--manifest", bundle, model)

    weights = model / "model-00002-of-00002.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert weights.name in verify(model, bundle, keys, *how)
    support.run("hash", "--check", bundle, model, expect=1)
    findings = support.run("verify", "--manifest", bundle, model, expect=1).document["verify"]["findings"]
    assert [(one["id"], one["file"]) for one in findings if one["severity"] == "error"] == [("manifest-changed", weights.name)]
    if inside:
        # What lies with the weights is checked unasked.
        findings = support.run("verify", "--deep", model, expect=1).document["verify"]["findings"]
        assert ("manifest-changed", weights.name) in [(one["id"], one["file"]) for one in findings]


def test_the_same_statement_as_theirs(model, keys, tmp_path):
    """Their payload and ours say the same of the same files; in another order, for theirs is folder by folder."""
    import base64

    bundle = tmp_path / "model.sig"
    assert support.work_in("extra", "sign", "sign", model, bundle, keys, "files", "sha256") is None
    envelope = json.loads(bundle.read_text())["dsseEnvelope"]
    theirs = json.loads(base64.b64decode(envelope["payload"]))
    ours = json.loads(support.run("hash", "--format", "oms", model).out)
    assert ours["subject"][0]["name"] == theirs["subject"][0]["name"]
    assert sorted(ours["predicate"]["resources"], key=lambda one: one["name"]) == ours["predicate"]["resources"]
    assert sorted(theirs["predicate"]["resources"], key=lambda one: one["name"]) == ours["predicate"]["resources"]
