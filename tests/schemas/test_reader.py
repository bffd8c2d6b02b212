"""The settings reader: precedence, every mistake at once, a role's own part only, and no secret in what is said."""

import json
import stat
from collections.abc import Callable, Mapping
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.mistakes import Mistake, SettingsError
from schemas.reader import Role, config_path, load
from schemas.settings import Settings, redacted
from schemas.verification import Hmac, Sha256Concat, StandardWebhooks, Token

SOURCE = '[sources.hse]\nvendor = "4hse"\nverify = { secrets = ["one"] }\n'

Load = Callable[..., Settings]


@pytest.fixture
def read(tmp_path: Path) -> Load:
    """Load settings from a text and an environment of their own."""

    def read_(toml: str = "", environ: Mapping[str, str] | None = None, role: Role = Role.ALL) -> Settings:
        path = tmp_path / "muster.toml"
        path.write_text(toml)
        return load(path, role, environ or {})

    return read_


@pytest.fixture
def mistakes(read: Load) -> Callable[..., dict[str, Mistake]]:
    """What is wrong in a text and an environment, by path."""

    def mistakes_(toml: str = "", environ: Mapping[str, str] | None = None, role: Role = Role.ALL) -> dict[str, Mistake]:
        with pytest.raises(SettingsError) as caught:
            read(toml, environ, role)
        found = {one.path: one for one in caught.value.mistakes}
        assert len(found) == len(caught.value.mistakes), "told twice"
        return found

    return mistakes_


Mistakes = Callable[..., dict[str, Mistake]]


def test_no_file_at_all_gives_the_documented_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = load(None, Role.ALL, {})

    assert (found.broker_url, found.database_url, found.data_dir) == (None, "sqlite://muster-data/muster.sqlite3", Path("muster-data"))
    assert (found.receiver.host, found.receiver.port, found.receiver.max_body, found.receiver.publish_deadline) == (
        "127.0.0.1",
        8000,
        1024 * 1024,
        2.0,
    )
    assert (found.local.host, found.local.receiver_port, found.local.worker_port) == ("127.0.0.1", 8001, 8002)
    assert found.sources == {}


def test_the_issues_example_file_loads_as_it_says(read: Load) -> None:
    found = read(
        """
        database = "postgres://postgres@127.0.0.1/muster"
        broker   = "amqp://guest:guest@127.0.0.1/"
        data_dir = "/var/lib/muster"
        [receiver]
        host = "127.0.0.1"
        port = 8000
        public_url = "https://hooks.example.com"
        [local]
        host = "127.0.0.1"
        receiver_port = 8001
        worker_port = 8002
        [sources.hse]
        vendor = "4hse"
        account = "hse"
        verify = { scheme = "token", query = "token", secrets = ["s"] }
        [sources.lms]
        vendor = "anewspring"
        verify = { scheme = "hmac", algorithm = "sha1", encoding = "base64", header = "X-WebHook-Signature", secrets = ["s"] }
        [sources.forwarder]
        vendor = "4hse"
        account = "hse"
        verify = { scheme = "standard-webhooks", secrets = ["whsec_c2VjcmV0"] }
        """
    )

    assert found.database_url == "postgres://postgres@127.0.0.1/muster"
    assert found.broker_url == "amqp://guest:guest@127.0.0.1/"
    assert {name: source.account for name, source in found.sources.items()} == {"hse": "hse", "lms": "lms", "forwarder": "hse"}
    assert [type(source.verify[0]) for source in found.sources.values()] == [Token, Hmac, StandardWebhooks]


@pytest.mark.parametrize(
    ("vendor", "expected"),
    [
        ("4hse", Token(scheme="token", query="token", secrets=("s",))),
        ("anewspring", Hmac(scheme="hmac", algorithm="sha1", encoding="base64", header="X-WebHook-Signature", secrets=("s",))),
        ("ispring", Sha256Concat(scheme="sha256-concat", header="X-Hub-Signature", secrets=("s",))),
    ],
)
def test_secrets_alone_are_enough_where_the_vendor_has_a_preset(read: Load, vendor: str, expected: object) -> None:
    found = read(f'[sources.x]\nvendor = "{vendor}"\nverify = {{ secrets = ["s"] }}\n')

    assert found.sources["x"].verify == (expected,)


def test_a_preset_gives_way_to_what_is_written_out_and_holds_for_each_scheme_of_a_list(read: Load) -> None:
    found = read(
        '[sources.x]\nvendor = "4hse"\n'
        'verify = [{ secrets = ["a"] }, { scheme = "basic", secrets = ["u:p"] }, { scheme = "token", header = "X-Key", secrets = ["b"] }]\n'
    )

    assert [one.scheme for one in found.sources["x"].verify] == ["token", "basic", "token"]


def test_a_scheme_may_be_for_some_events_where_bodies_name_them(read: Load, mistakes: Mistakes) -> None:
    token = '{{ scheme = "token", query = "t", secrets = ["s"], events = ["E"] }}'
    source = f'[sources.a]\nvendor = "{{}}"\nverify = [{{{{ secrets = ["s"] }}}}, {token}]\n'
    signed, handshake = read(source.format("ispring")).sources["a"].verify

    assert isinstance(signed, Sha256Concat)
    assert isinstance(handshake, Token)
    assert (signed.events, handshake.events) == ((), ("E",))
    (mistake,) = mistakes(source.format("4hse")).values()
    assert "no body of 4hse names its event" in mistake.problem


def test_kare_has_no_preset_and_its_scheme_must_be_written_out(mistakes: Mistakes) -> None:
    (found,) = mistakes('[sources.k]\nvendor = "kare"\nverify = { secrets = ["a"] }\n').values()

    assert found.path == "sources.k.verify"
    assert "standard-webhooks" in found.remedy


@pytest.mark.parametrize(
    "verify",
    ["", "verify = []\n", 'verify = "none"\n', "verify = {}\n", "verify = { secrets = [] }\n", 'verify = { secrets = [""] }\n'],
    ids=["absent", "empty list", "a bare word", "empty table", "no secrets", "empty secret"],
)
def test_a_source_without_verification_fails_closed(mistakes: Mistakes, verify: str) -> None:
    assert next(iter(mistakes(f'[sources.x]\nvendor = "4hse"\n{verify}'))).startswith("sources.x.verify")


def test_every_mistake_is_told_at_once_with_its_path_and_a_remedy(mistakes: Mistakes) -> None:
    found = mistakes(
        """
        brokr = "amqp://h/"
        database_file = "absent"
        [receiver]
        port = "eighty"
        prot = 1
        spool_max = "1 KiB"
        trusted_proxies = ["10.0.0.0/99"]
        [log]
        level = "loud"
        [sources.hse]
        vendor = "4hs"
        verify = { scheme = "token", header = "A", query = "b", secrets = ["x"] }
        [sources.lms]
        vendor = "anewspring"
        verify = { scheme = "hmac", algorithm = "md5", secrets = ["x"], tolerance = 0 }
        [sources."a b"]
        vendor = "4hse"
        verify = { scheme = "tokens", secrets = ["x"] }
        """,
        {"MUSTER_WROKER": "1", "MUSTER_WORKER__BATCH": "0"},
    )

    assert set(found) == {
        "brokr",
        "database_file",
        "receiver.port",
        "receiver.prot",
        "receiver.spool_max",
        "receiver.trusted_proxies.0",
        "log.level",
        "sources.hse.vendor",
        "sources.hse.verify",
        "sources.lms.verify.algorithm",
        "sources.lms.verify.header",
        "sources.lms.verify.tolerance",
        "sources.a b",
        "sources.a b.verify",
        "MUSTER_WROKER",
        "worker.batch",
    }
    assert all(one.problem and one.remedy for one in found.values())


@pytest.mark.parametrize("name", ["token", "basic", "hmac", "none"])
def test_a_source_may_be_named_like_a_scheme_and_its_mistakes_keep_its_name(mistakes: Mistakes, name: str) -> None:
    toml = f'[sources.{name}]\nvendor = "4hs"\nverify = [{{ scheme = "{name}" }}, {{ scheme = "token", secrets = ["a"] }}]\n'
    missing = [] if name == "none" else [f"sources.{name}.verify.0.secrets"]
    missing += ["sources.hmac.verify.0.header"] if name == "hmac" else []

    assert set(mistakes(toml)) == {f"sources.{name}.vendor", f"sources.{name}.verify.1", *missing}


@pytest.mark.parametrize(
    ("environ", "read_back"),
    [
        ({"MUSTER_BROKER": "amqp://other/"}, lambda s: s.broker_url == "amqp://other/"),
        ({"MUSTER_DATA_DIR": "/elsewhere"}, lambda s: s.data_dir == Path("/elsewhere")),
        ({"MUSTER_RECEIVER__PORT": "9000"}, lambda s: (s.receiver.port, s.receiver.host) == (9000, "::1")),
        ({"muster_receiver__port": "9000"}, lambda s: s.receiver.port == 9000),
        ({"MUSTER_RECEIVER__MAX_BODY": "5 MiB"}, lambda s: s.receiver.max_body == 5 * 1024 * 1024),
        ({"MUSTER_RECEIVER__TRUSTED_PROXIES": '["10.0.0.0/8"]'}, lambda s: s.receiver.trusted_proxies == (ip_network("10.0.0.0/8"),)),
        ({"MUSTER_SOURCES__HSE__ACCOUNT": "acme"}, lambda s: (s.sources["hse"].account, s.sources["hse"].vendor) == ("acme", "4hse")),
        (
            {"MUSTER_SOURCES__HSE__VERIFY__SECRETS": '["two", "three"]'},
            lambda s: [one.get_secret_value() for one in s.sources["hse"].verify[0].secrets] == ["two", "three"],
        ),
        (
            {"MUSTER_SOURCES__LMS__VENDOR": "anewspring", "MUSTER_SOURCES__LMS__VERIFY": '{"secrets": ["x"]}'},
            lambda s: {name: one.vendor for name, one in s.sources.items()} == {"hse": "4hse", "lms": "anewspring"},
        ),
        ({"MUSTER_CONFIG": "/not/read/as/a/key", "PATH": "/bin"}, lambda s: s.receiver.port == 7000),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
def test_the_environment_overrides_the_file_key_by_key(read: Load, environ: dict[str, str], read_back: Callable[[Settings], bool]) -> None:
    assert read_back(read(f'broker = "amqp://file/"\n[receiver]\nhost = "::1"\nport = 7000\n{SOURCE}', environ))


def test_tracing_is_off_until_it_is_enabled_and_both_roles_read_it(read: Load) -> None:
    found = [read('[tracing]\nenabled = true\nendpoint = "https://collector:4318/base"\n', role=role) for role in Role]

    assert (read().tracing.enabled, [one.tracing.enabled for one in found]) == (False, [True] * len(Role))
    assert {str(one.tracing.endpoint) for one in found} == {"https://collector:4318/base"}


@pytest.mark.parametrize(
    "endpoint", ["collector:4318", "ftp://collector/", "http://user:secret@collector:4318", "http://collector/?key=secret", 4318]
)
def test_a_collectors_address_is_one_and_holds_no_credential(mistakes: Mistakes, endpoint: str | int) -> None:
    (mistake,) = mistakes(f"[tracing]\nendpoint = {json.dumps(endpoint)}\n").values()

    assert mistake.path == "tracing.endpoint"
    assert "secret" not in f"{mistake.problem}{mistake.remedy}"


def test_what_failed_verification_is_kept_within_bounds_that_can_be_set_one_by_one(read: Load) -> None:
    found = read('[receiver]\nname = "web-1:8010"\nheartbeat = 5\nrejected = { count = 0, age = "3d" }\n').receiver

    assert (found.rejected.count, found.rejected.size, found.rejected.age) == (0, 16 * 1024 * 1024, timedelta(days=3))
    assert (found.name, found.heartbeat) == ("web-1:8010", 5)


@pytest.mark.parametrize(
    ("toml", "path", "says"),
    [
        pytest.param('name = "web 1"', "receiver.name", "letters, digits and . _ : -", id="a name that no routing key holds"),
        pytest.param("heartbeat = 0", "receiver.heartbeat", "greater than 0", id="no pause between heartbeats"),
        pytest.param('rejected = { age = "a week" }', "receiver.rejected.age", "30d", id="an age that is no duration"),
        pytest.param("rejected = { count = 10_001 }", "receiver.rejected.count", "10000", id="more than is bounded"),
        pytest.param("rejected = false", "receiver.rejected", "valid dictionary", id="a table that is none"),
    ],
)
def test_a_receiver_that_cannot_be_is_a_mistake_with_its_path(mistakes: Mistakes, toml: str, path: str, says: str) -> None:
    (mistake,) = mistakes(f"[receiver]\n{toml}\n").values()

    assert (mistake.path, says in mistake.problem) == (path, True)


def test_only_variables_with_the_prefix_are_read(read: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"BROKER": "amqp://stray/", "DATABASE": "nonsense", "LOG": '{"level": "debug"}', "SOURCES": "{}"}.items():
        monkeypatch.setenv(name, value)
    found = read()

    assert (found.broker, found.database, found.log.level) == (None, None, "info")


@pytest.mark.parametrize(
    ("variable", "path"),
    [
        ("MUSTER_RECEIVER", "receiver"),
        ("MUSTER_SOURCES", "sources"),
        ("MUSTER_RECEIVER__TRUSTED_PROXIES", "receiver.trusted_proxies"),
        ("MUSTER_SOURCES__HSE__VERIFY", "sources.hse.verify"),
    ],
)
def test_a_variable_that_should_be_json_and_is_not_is_a_mistake_beside_the_others(mistakes: Mistakes, variable: str, path: str) -> None:
    found = mistakes(f"brokr = 1\n{SOURCE}", {variable: '["planted-secret'})

    assert set(found) == {path, "brokr"}
    assert "planted-secret" not in str(found[path])


@pytest.mark.parametrize(
    ("file", "environ"),
    [
        ('broker = "amqp://file/"', {"MUSTER_BROKER_FILE": "one"}),
        ('broker_file = "absent"', {"MUSTER_BROKER": "amqp://from-a-file/"}),
        ('broker_file = "absent"', {"MUSTER_BROKER_FILE": "one"}),
    ],
    ids=["file over value", "value over file", "file over file"],
)
def test_the_environment_also_overrides_between_a_value_and_its_file(
    read: Load, tmp_path: Path, file: str, environ: dict[str, str]
) -> None:
    (tmp_path / "one").write_text("amqp://from-a-file/\n")

    assert read(file, environ).broker_url == "amqp://from-a-file/"


def test_secrets_come_from_files_beside_the_settings_file(read: Load, tmp_path: Path) -> None:
    (tmp_path / "secrets").write_text("first\n\n  second  \n")
    (tmp_path / "database").write_text("postgres://u:p@h/d\n")
    (tmp_path / "broker").write_text("amqp://u:p@h/\n")
    found = read('database_file = "database"\nbroker_file = "broker"\n' + SOURCE.replace('secrets = ["one"]', 'secrets_file = "secrets"'))

    assert (found.database_url, found.broker_url) == ("postgres://u:p@h/d", "amqp://u:p@h/")
    verify = found.sources["hse"].verify[0]
    assert isinstance(verify, Token)
    assert [one.get_secret_value() for one in verify.secrets] == ["first", "second"]


def test_a_value_and_its_file_side_by_side_are_a_mistake(mistakes: Mistakes) -> None:
    found = mistakes('broker = "amqp://h/"\nbroker_file = "f"\n')

    assert list(found) == ["broker_file"]


@pytest.mark.parametrize(
    "scheme",
    [
        'scheme = "token", query = "t"',
        'scheme = "basic"',
        'scheme = "hmac", header = "h"',
        'scheme = "sha256-concat", header = "h"',
        'scheme = "standard-webhooks"',
    ],
)
def test_a_secrets_file_that_is_missing_is_one_mistake_whatever_the_scheme(mistakes: Mistakes, scheme: str) -> None:
    (found,) = mistakes(f'[sources.x]\nvendor = "4hse"\nverify = {{ {scheme}, secrets_file = "absent" }}\n').values()

    assert found.path == "sources.x.verify.secrets_file"
    assert "No such file" in found.problem


def test_an_empty_secrets_file_fails_closed(mistakes: Mistakes, tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n\n")

    assert list(mistakes('[sources.x]\nvendor = "4hse"\nverify = { secrets_file = "empty" }\n')) == ["sources.x.verify.secrets"]


def test_the_receiver_opens_no_database_file_and_the_worker_no_secrets_file(read: Load, mistakes: Mistakes) -> None:
    toml = 'database_file = "absent-1"\n[sources.hse]\nvendor = "4hse"\nverify = { secrets_file = "absent-2" }\n'

    assert list(mistakes(toml, role=Role.RECEIVER)) == ["sources.hse.verify.secrets_file"]
    assert list(mistakes(toml, role=Role.WORKER)) == ["database_file"]
    assert set(mistakes(toml)) == {"sources.hse.verify.secrets_file", "database_file"}


def test_a_role_holds_nothing_of_the_other_roles_part(read: Load) -> None:
    toml = f'database = "postgres://u:p@h/d"\nbroker = "amqp://h/"\n[worker]\nbatch = 7\n{SOURCE}'
    receiver, worker = read(toml, role=Role.RECEIVER), read(toml, role=Role.WORKER)

    assert (receiver.database, receiver.worker.batch, list(receiver.sources)) == (None, 500, ["hse"])
    assert (worker.sources, worker.worker.batch, worker.database_url) == ({}, 7, "postgres://u:p@h/d")
    assert receiver.broker_url == worker.broker_url == "amqp://h/"


def test_the_other_roles_part_from_the_environment_is_left_alone_too(read: Load) -> None:
    environ = {"MUSTER_DATABASE": "postgres://h/d", "MUSTER_DATABASE_FILE": "absent", "MUSTER_SOURCES__HSE__VENDOR": "4hse"}

    assert read("", environ | {"MUSTER_SOURCES__HSE__VERIFY": '{"secrets": ["x"]}'}, Role.RECEIVER).database is None
    assert read("", {"MUSTER_SOURCES__HSE__VENDOR": "4hse"}, Role.WORKER).sources == {}


@pytest.mark.parametrize("how", ["argument", "variable"])
def test_a_settings_file_that_is_named_must_exist(tmp_path: Path, how: str) -> None:
    path = tmp_path / "absent.toml"
    with pytest.raises(SettingsError, match="no such file") as caught:
        load(path, environ={}) if how == "argument" else load(environ={"MUSTER_CONFIG": str(path)})

    assert f"muster init --config {path}" in caught.value.mistakes[0].remedy


@pytest.mark.parametrize("content", [b"a = = 1", b"\xff\xfe", b"a = 1\na = 2"], ids=["not TOML", "not UTF-8", "a key twice"])
def test_a_settings_file_that_cannot_be_read_is_a_mistake_that_names_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "muster.toml"
    path.write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        load(path, environ={})

    assert [one.path for one in caught.value.mistakes] == [str(path)]


def test_the_settings_file_is_the_argument_then_the_variable_then_the_default() -> None:
    assert config_path(Path("a"), {"MUSTER_CONFIG": "b"}) == Path("a")
    assert config_path(None, {"MUSTER_CONFIG": "b"}) == Path("b")
    assert config_path(None, {}) == Path("muster.toml")


@pytest.mark.parametrize(
    ("key", "url"),
    [
        ("database", "mysql://u:planted-secret@h/d"),
        ("database", "planted-secret"),
        ("broker", "http://u:planted-secret@h/"),
        ("broker", "amqp://u:planted-secret@h:port/"),
        ("broker", "amqp://u:planted/secret@h/"),
        ("broker", "amqp://u:planted-secret℀@h/"),
        ("broker", "amqp://u:planted-secret@[h/"),
        ("broker", "amqp://u:planted-secret@h:99999/"),
    ],
)
def test_a_url_that_cannot_work_is_refused_at_start_and_not_repeated(mistakes: Mistakes, key: str, url: str) -> None:
    (found,) = mistakes(json.dumps({key: url})[1:-1].replace(f'"{key}":', f"{key} =")).values()

    assert found.path == key
    assert "planted" not in str(found)


def test_a_url_is_shown_without_password_and_query() -> None:
    assert redacted("amqp://user:secret@host:5672/v?password=secret") == "amqp://host:5672/v"
    assert redacted("sqlite:///var/lib/muster.sqlite3") == "sqlite:///var/lib/muster.sqlite3"


_SECRET = "planted-9f2c"

_leaky = st.sampled_from(
    [
        '[sources.x]\nvendor = "4hse"\nverify = {{ secrets = "{}" }}\n',
        '[sources.x]\nvendor = "4hse"\nverify = {{ secrets = ["{}", 5] }}\n',
        '[sources.x]\nvendor = "4hse"\nverify = {{ secrets = ["{}"], scheme = "wrong" }}\n',
        '[sources.x]\nvendor = "4hse"\nverify = {{ secrets = ["{}"], scheme = "basic" }}\n',
        '[sources.x]\nvendor = "4hse"\nverify = {{ secrets = ["{}"], scheme = "hmac" }}\n',
        '[sources.x]\nvendor = "4hse"\nverify = {{ secrets = ["{}!"], scheme = "standard-webhooks" }}\n',
        '[sources.x]\nvendor = "4hse"\nverify = {{ secrets = ["{}"], header = "a", scheme = "token", query = "b" }}\n',
        '[sources.x]\nvendor = "4hse"\nverify = {{ secrets = ["{}"], secrets_file = "f" }}\n',
        '[sources.x]\nvendor = "4hse"\nverify = {{ secrets = ["{}"], surplus = 1 }}\n',
        '[sources.x]\nvendor = "4hse"\nverify = "{}"\n',
        '[sources.x]\nverify = ["{}"]\n',
        'sources = "{}"\n',
        'broker = "{}"\n',
        'database = ["{}"]\n',
        'receiver = "{}"\n',
        'broker = "amqp://u:{}@h:x/"\n',
        '[sources.x]\nvendor = "4hse"\nverify = {{ secrets = ["{}" }}\n',
    ]
)


@settings(max_examples=60)
@given(leaky=_leaky, tail=st.text(st.characters(codec="utf-8", exclude_categories=["Cc"], exclude_characters='":\\'), max_size=6))
def test_no_mistake_ever_repeats_a_secret(tmp_path_factory: pytest.TempPathFactory, leaky: str, tail: str) -> None:
    path = tmp_path_factory.getbasetemp() / "leaky.toml"
    path.write_text(leaky.format(_SECRET + tail), encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        load(path, environ={})

    assert _SECRET not in f"{caught.value} {caught.value!r} {caught.value.mistakes!r}"


def test_settings_that_are_printed_show_no_secret(read: Load) -> None:
    toml = f'broker = "amqp://u:{_SECRET}@h/"\ndatabase = "postgres://u:{_SECRET}@h/d"\n{SOURCE.replace("one", _SECRET)}'
    found = read(toml)

    assert _SECRET not in f"{found} {found!r} {found.model_dump()} {found.model_dump_json()}"


def test_a_file_that_this_user_may_not_read_is_told_as_such(mistakes: Mistakes, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()

    assert "directory" in mistakes('broker_file = "folder"')["broker_file"].problem
    assert stat.S_ISDIR(folder.stat().st_mode)


def test_what_is_kept_and_for_how_long(read: Load) -> None:
    default, other = read("").retention, read('[retention]\nkeep_bodies = "off"\nkeep_log = "2y"\n', role=Role.WORKER).retention

    assert (default.keep_bodies, default.keep_log) == (timedelta(days=30), timedelta(days=365))
    assert (other.keep_bodies, other.keep_log) == (None, timedelta(days=730))


@pytest.mark.parametrize(
    ("toml", "path", "problem"),
    [
        pytest.param('keep_bodies = "1m"', "retention.keep_bodies", "a day at least", id="a minute that was meant to be a month"),
        pytest.param('keep_log = "999y"', "retention.keep_log", "100y at most", id="longer than anybody lives"),
        pytest.param('keep_bodies = "30"', "retention.keep_bodies", "a duration such as", id="no unit"),
        pytest.param('keep_log = "7d"', "retention", "keep_log is shorter than keep_bodies", id="rows that go before their bodies"),
    ],
)
def test_a_mistake_in_it_is_told(mistakes: Mistakes, toml: str, path: str, problem: str) -> None:
    found = mistakes(f"[retention]\n{toml}\n")

    assert problem in found[path].problem
