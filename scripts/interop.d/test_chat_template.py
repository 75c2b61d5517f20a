"""Our chat template renders the text that Meta's ChatFormat encodes, in three generations of transformers."""

import json

import pytest
import support


def turns(*pairs):
    return [{"role": role, "content": content} for role, content in pairs]


DIALOGS = [
    turns(("user", "Hello")),
    turns(("system", "Answer in one word."), ("user", "What is the capital of France?")),
    turns(("user", "One"), ("assistant", "Two"), ("user", "Three")),
    turns(("system", "S"), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"), ("user", "e")),
    # Meta's format trims nothing.
    turns(("user", "  leading and trailing  \n"), ("assistant", "\n\n- a list\n- of two\n"), ("user", "\ttab")),
    turns(("user", "")),
    turns(("user", "日本語 😀 e\u0301"), ("assistant", "{{ not a template }} {% nor this %} <b>")),
    # What a tool said goes under the name that Meta gives that role.
    turns(("user", "What is 2+2?"), ("assistant", "print(2+2)"), ("tool", "4"), ("assistant", "4"), ("user", "Thanks")),
    turns(("assistant", "I begin.")),
]


@pytest.fixture(scope="module")
def folder(real_llama3, tmp_path_factory):
    out = tmp_path_factory.mktemp("chat") / "hf"
    support.convert(real_llama3, "hf", out)
    return out


def metas(dialog):
    """ChatFormat's tokens for the dialog, the next turn's opening included."""
    from llama_models.datatypes import RawMessage
    from llama_models.llama3.chat_format import ChatFormat
    from llama_models.llama3.tokenizer import Tokenizer

    tokenizer = Tokenizer.get_instance()
    tokens = ChatFormat(tokenizer).encode_dialog_prompt([RawMessage(**message) for message in dialog]).tokens
    return tokens, tokenizer.model.decode(tokens)


@pytest.mark.parametrize("version", support.ENVIRONMENTS)
def test_same_text_and_tokens(version, folder, tmp_path):
    (tmp_path / "dialogs.json").write_text(json.dumps(DIALOGS))
    found = support.work(version, "chat", folder, tmp_path / "dialogs.json")
    for dialog, (opened, closed), ids in zip(DIALOGS, found["texts"], found["ids"], strict=True):
        tokens, text = metas(dialog)
        assert opened == text, dialog
        # Meta encodes header and content apart; as one text, line breaks on both sides of the seam become one token.
        if not any(message["content"].startswith("\n") for message in dialog):
            assert ids == tokens, dialog
        assert closed == text.removesuffix("<|start_header_id|>assistant<|end_header_id|>\n\n"), dialog


def test_a_base_model_has_no_template(fixtures, tmp_path):
    support.convert(fixtures / "tiny-llama3" / "mp1", "hf", tmp_path / "hf")
    assert "chat_template" not in json.loads((tmp_path / "hf" / "tokenizer_config.json").read_text())


def test_the_users_own_template(real_llama3, tmp_path):
    template = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
    (tmp_path / "mine.jinja").write_text(template)
    support.convert(real_llama3, "hf", tmp_path / "hf", "--chat-template", tmp_path / "mine.jinja")
    (tmp_path / "dialogs.json").write_text(json.dumps([turns(("user", "x"))]))
    found = support.work("5.23.0", "chat", tmp_path / "hf", tmp_path / "dialogs.json")
    assert found["texts"] == [["[user] x\n", "[user] x\n"]]
