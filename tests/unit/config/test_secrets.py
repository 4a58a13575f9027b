"""Where keys come from, what is taken for a key, and what is left out."""

from __future__ import annotations

import os
import random
import re
import string
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from sidecar.config.problems import ConfigError
from sidecar.config.secrets import fingerprint, is_placeholder
from sidecar.model.configured import Pool

from .conftest import Desk

FROM_ENV = "pools: {chat: {provider: gemini, keys: {from_env: K}}}"
FROM_DIR = "pools: {p: {provider: openai, keys: {from_dir: keys}}}"


def secrets(pool: Pool) -> list[str]:
    return [key.secret.reveal() for key in pool.keys]


def ids(pool: Pool) -> list[str]:
    return [key.id for key in pool.keys]


def test_variables_are_read_in_numeric_order_with_gaps(desk: Desk) -> None:
    """`_2` comes before `_10`, `_0` after the bare name, and what only begins alike is another's."""
    names = ["K_10", "K_2", "K", "K_0", "K_100", "K_X", "KEY", "K_1X", "AK_1"]
    pool = desk.load(FROM_ENV, {name: f"v-{name}" for name in names}).pools["chat"]
    assert secrets(pool) == ["v-K", "v-K_0", "v-K_2", "v-K_10", "v-K_100"]
    assert ids(pool) == ["chat-1", "chat-2", "chat-3", "chat-4", "chat-5"]


def test_numbered_variables_need_no_bare_one(desk: Desk) -> None:
    pool = desk.load(FROM_ENV, {f"K_{number}": f"v{number}" for number in range(1, 121)}).pools["chat"]
    assert secrets(pool) == [f"v{number}" for number in range(1, 121)]


def test_value_may_hold_several_keys(desk: Desk) -> None:
    pool = desk.load(FROM_ENV, {"K": ' a1, "b1" ,,c1,\n', "K_1": "d1"}).pools["chat"]
    assert secrets(pool) == ["a1", "b1", "c1", "d1"]


def test_empty_values_and_placeholders_are_left_out_and_told(desk: Desk) -> None:
    config = desk.load(FROM_ENV, {"K": "", "K_1": "your_key_here", "K_2": "real"})
    assert ids(config.pools["chat"]) == ["chat-1"]
    assert config.warnings == (
        "sidecar.yaml: pools.chat.keys.from_env: env K is empty, so it is left out.",
        "sidecar.yaml: pools.chat.keys.from_env: env K_1 is a placeholder, no key, so it is left out.",
    )


def test_same_secret_twice_is_one_key(desk: Desk) -> None:
    """The first id stays, and later ids keep their positions."""
    config = desk.load(FROM_ENV, {"K": "one", "K_1": "one", "K_2": "two"})
    assert ids(config.pools["chat"]) == ["chat-1", "chat-3"]
    assert config.warnings == (
        'sidecar.yaml: pools.chat: key "chat-2" (env K_1) has the same secret as "chat-1" (env K).'
        ' They are one key, "chat-1".',
    )


def test_surroundings_of_a_pasted_secret_are_stripped(desk: Desk) -> None:
    desk.write("file", '\ufeff "k2"\r\n')
    text = "pools: {p: {provider: openai, keys: [{id: a, secret: \" 'k1'\\n\"}, {id: b, secret_file: file}]}}"
    assert secrets(desk.load(text).pools["p"]) == ["k1", "k2"]


@pytest.mark.parametrize(
    "value", ["two words", "line\nbreak", "tab\tbed", "nül", "del\x7f", "non\u00a0breaking", "x1" * 5000]
)
def test_what_no_header_can_carry_is_an_error(desk: Desk, value: str) -> None:
    text = desk.refused(FROM_ENV, {"K": value})
    assert text.startswith("sidecar.yaml: pools.chat.keys.from_env: env K ")
    assert value not in text


def test_files_of_a_folder_are_keys(desk: Desk) -> None:
    """As Kubernetes mounts them: links into `..data`, which itself is no key."""
    desk.write("keys/..2025/team-b", "k-b\n")
    desk.write("keys/..2025/team-a", "k-a\n")
    (desk.folder / "keys/..data").symlink_to("..2025")
    for name in ("team-b", "team-a"):
        (desk.folder / "keys" / name).symlink_to(f"..data/{name}")
    desk.write("keys/.hidden", "k-h")
    desk.write("keys/folder/inner", "k-i")
    pool = desk.load(FROM_DIR).pools["p"]
    assert (ids(pool), secrets(pool)) == (["team-a", "team-b"], ["k-a", "k-b"])
    assert pool.keys[0].origin == 'file "keys/team-a"'


def test_folder_may_stand_beside_a_list(desk: Desk) -> None:
    desk.write("keys/b", "k-b")
    text = "pools: {p: {provider: openai, keys: [{id: a, secret: k-a}], from_dir: keys}}"
    assert ids(desk.load(text).pools["p"]) == ["a", "b"]


def test_folder_without_a_key_is_an_error(desk: Desk) -> None:
    desk.write("keys/.hidden", "k-h")
    assert "pools.p.keys: the pool has no key: none of those named is usable." in desk.refused(FROM_DIR)


def test_file_that_cannot_be_one_key_is_an_error(desk: Desk) -> None:
    """Two lines, too much, no text, a pipe that would block, a name that cannot be an id."""
    desk.write("keys/lines", "one\ntwo\n")
    desk.write("keys/large", "x1" * 40_000)
    (desk.folder / "keys/binary").write_bytes(b"\xff\xfe\x00")
    os.mkfifo(desk.folder / "keys/pipe")
    desk.write("keys/a name", "k1")
    lines = desk.refused(FROM_DIR).splitlines()
    assert [line.removeprefix("sidecar.yaml: pools.p.keys.from_dir: ") for line in lines] == [
        'file "binary" is not UTF-8, so it is no key.',
        'file "large" is longer than 8192 characters, so it is no key.',
        'file "lines" holds a space or a line break, so it is no key.',
        'file "pipe" is no regular file.',
        '"a name" is no key id. It is 1 to 128 letters, digits and . _ @ : -.',
    ]


def test_relative_paths_are_below_the_config_file(desk: Desk, tmp_path: Path) -> None:
    desk.write("conf/secret", "k1")
    desk.write("conf/my.yaml", "pools: {p: {provider: openai, keys: [{id: a, secret_file: secret}]}}")
    assert secrets(desk.load(None, {"SIDECAR_CONFIG": "conf/my.yaml"}).pools["p"]) == ["k1"]


@pytest.mark.parametrize(
    "said", ["keys: [{id: a, secret_file: ~/keys/a}]", "keys: {from_dir: ~/keys}", "from_dir: ~/keys/"]
)
def test_a_path_may_begin_at_the_users_home(desk: Desk, said: str) -> None:
    """It is shown as it is written, and a folder that is called `~` is found where no home is known."""
    desk.write("home/keys/a", "k1")
    desk.write("~/keys/a", "k2")
    text = f"pools: {{p: {{provider: openai, {said}}}}}"
    pool = desk.load(text, {"HOME": str(desk.folder / "home")}).pools["p"]
    assert (secrets(pool), pool.keys[0].origin) == (["k1"], 'file "~/keys/a"')
    assert secrets(desk.load(text).pools["p"]) == ["k2"]


def test_api_without_keys_gets_one_that_is_never_sent(desk: Desk) -> None:
    """Its secret is not empty, since whoever hides secrets in an answer replaces their text."""
    config = desk.load("pools: {a: {base_url: http://h, auth: none}, b: {base_url: http://h, auth: none}}")
    one, other = (pool.keys for pool in config.pools.values())
    assert [key.id for key in (*one, *other)] == ["a-1", "b-1"]
    assert one[0].secret.reveal()
    assert one[0].account != other[0].account


@pytest.mark.parametrize("server", ["ollama", "vllm"])
def test_a_server_of_ones_own_needs_no_key_and_takes_those_that_are_named(desk: Desk, server: str) -> None:
    """Without `keys` nothing is presented in any dialect; with them they are, and have to be there."""
    free = desk.load(f"pools: {{p: {{provider: {server}}}}}").pools["p"]
    assert {speech.auth.kind for speech in free.provider.dialects.values()} | {free.provider.auth.kind} == {"none"}
    assert [key.id for key in free.keys] == ["p-1"]
    named = f"pools: {{p: {{provider: {server}, keys: {{from_env: K}}}}}}"
    guarded = desk.load(named, {"K": "sk-1"}).pools["p"]
    assert {speech.auth.kind for speech in guarded.provider.dialects.values()} == {"bearer"}
    with pytest.raises(ConfigError):
        desk.load(named)


def test_a_thousand_keys_of_each_source_are_all_there(desk: Desk) -> None:
    """Numbered, in one value, in `.env`, listed, and a file each; in the order of their source."""
    values = [f"k{number}" for number in range(1000)]
    desk.write(".env", "".join(f"E_{number}={value}\n" for number, value in enumerate(values)))
    for value in values:
        desk.write(f"keys/{value}", f"{value}\n")
    entries = "".join(f'      - {{id: {value}, secret: "${{E_{value[1:]}}}"}}\n' for value in values)
    text = (
        "pools:\n  env: {provider: openai, keys: {from_env: N}}\n  comma: {provider: openai, keys: {from_env: C}}\n"
        "  file: {provider: openai, keys: {from_env: E}}\n  dir: {provider: openai, keys: {from_dir: keys}}\n"
        f"  list:\n    provider: openai\n    keys:\n{entries}"
    )
    config = desk.load(text, {f"N_{number}": values[number] for number in range(1000)} | {"C": ",".join(values)})
    assert {name: secrets(pool) for name, pool in config.pools.items()} == {
        name: sorted(values) if name == "dir" else values for name in ("env", "comma", "file", "dir", "list")
    }
    assert len({key.account for pool in config.pools.values() for key in pool.keys}) == 1000


HELD = "sk-Zq9w8e7r6t5y4u3i2o1p"
NAMED = """
pools:
  chat: {{provider: openai, keys: [{{id: {key}, account: {account}, secret: "${{A}}"}}, {{id: b, secret: "${{B}}"}}]}}
clients: [{{id: {client}, token: "${{C}}"}}]
"""


@pytest.mark.parametrize("of", ["A", "B", "C"])
@pytest.mark.parametrize("around", ["{}", "team-{}-1"])
@pytest.mark.parametrize(
    ("name", "place"),
    [("key", "pools.chat.keys[0].id"), ("account", "pools.chat.keys[0].account"), ("client", "clients[0].id")],
)
def test_a_name_that_holds_any_secret_of_the_config_is_refused_without_repeating_it(
    desk: Desk, name: str, place: str, around: str, of: str
) -> None:
    environ = {"A": "k-of-a-0123456789", "B": "k-of-b-0123456789", "C": "token-of-c-0123456789"} | {of: HELD}
    names = {"key": "a", "account": "acme", "client": "web"}
    desk.load(NAMED.format(**names), environ)
    told = desk.refused(NAMED.format(**names | {name: around.format(HELD)}), environ)
    assert told == (
        f"sidecar.yaml: {place}: holds a secret, and names stand in logs, metrics and Redis. Choose another."
    )


def test_a_file_that_is_called_like_the_secret_in_it_is_refused(desk: Desk) -> None:
    desk.write(f"keys/{HELD}", HELD)
    told = desk.refused(FROM_DIR)
    assert "pools.p.keys.from_dir: the name of the key's file holds a secret" in told
    assert HELD not in told


def test_a_word_for_a_server_that_wants_no_key_may_be_a_name(desk: Desk) -> None:
    config = desk.load(
        "pools: {p: {base_url: http://h, dialect: openai, keys: [{id: lm-studio-1, secret: lm-studio}]}}"
    )
    assert ids(config.pools["p"]) == ["lm-studio-1"]


def test_fingerprint_tells_nothing_over_namespaces() -> None:
    long = "n" * 64
    assert re.fullmatch("[0-9a-f]{20}", fingerprint("secret", "a"))
    assert len({fingerprint(secret, name) for secret in ("s", "t") for name in ("a", "b", long)}) == 6


def lines(name: str) -> list[str]:
    return (Path(__file__).parent / name).read_text().splitlines()


@pytest.mark.parametrize("text", lines("placeholders.txt"))
def test_placeholder(text: str) -> None:
    assert is_placeholder(text)


@pytest.mark.parametrize("text", lines("no_placeholders.txt"))
def test_no_placeholder(text: str) -> None:
    assert not is_placeholder(text)


BASE62 = string.ascii_letters + string.digits
BASE64 = BASE62 + "-_"


def drawn(prefix: str, length: int, alphabet: str = BASE62) -> Callable[[random.Random], str]:
    return lambda source: prefix + "".join(source.choices(alphabet, k=length))


SHAPES = {
    "anthropic": drawn("sk-ant-api03-", 95, BASE64),
    "openrouter": drawn("sk-or-v1-", 64, "0123456789abcdef"),
    "gemini": drawn("AIzaSy", 33, BASE64),
    "gemini, new": drawn("AQ.Ab8RN6", 44, BASE64),
    "groq": drawn("gsk_", 52),
    "openai": drawn("sk-", 48),
    "openai, of a project": drawn("sk-proj-", 156, BASE64),
    "deepseek": drawn("sk-", 32, "0123456789abcdef"),
    "xai": drawn("xai-", 80),
    "perplexity": drawn("pplx-", 48),
    "nvidia": drawn("nvapi-", 64, BASE64),
    "replicate": drawn("r8_", 37),
    "hugging face": drawn("hf_", 34, string.ascii_letters),
    "mistral": drawn("", 32),
    "azure": drawn("", 32, "0123456789abcdef"),
    "azure, new": drawn("", 84),
    "cohere": drawn("", 40),
    "cerebras": drawn("csk-", 48, string.ascii_lowercase + string.digits),
    "a uuid": lambda source: str(uuid.UUID(int=source.getrandbits(128))),
    "twelve letters and digits": drawn("", 12),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_no_real_key_is_taken_for_a_placeholder(shape: str) -> None:
    """Whatever its random part comes to: drawn as providers draw, since chosen letters may spell anything."""
    source = random.Random(shape)
    keys = [SHAPES[shape](source) for _ in range(1_000)]
    assert not [key for key in keys if is_placeholder(key)]
