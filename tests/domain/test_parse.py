"""Parsing: every problem at once, each with its place and remedy, and no text that breaks it."""

import pytest
from team import EXAMPLES, MINIMAL, TEAM, changed, line_of, problems_of

from ringfence.domain.boundary import Boundary
from ringfence.domain.parse import digest, parse


@pytest.mark.parametrize("name", ["minimal.yaml", "team.yaml"])
def test_the_examples_hold(name):
    assert isinstance(parse((EXAMPLES / name).read_text(), source=name), Boundary)


def test_a_boundary_holds_what_was_written():
    boundary = parse(TEAM)
    assert isinstance(boundary, Boundary)
    assert boundary.checkout.cache.keep == 30 * 86400
    assert boundary.limits.sandbox.memory == 4 << 30
    assert boundary.repository("acme/iban-tools").instructions == ("AGENTS.md", "CONTRIBUTING.md")
    assert boundary.commands.repositories["acme/payments"].checks[2].run == ("python", "-m", "pytest", "-q")
    assert boundary.owners[0].signed.isoformat() == "2026-03-02"


def test_the_digest_is_of_the_exact_bytes():
    assert digest("a: 1\n") == digest(b"a: 1\n") != digest(b"a: 1\r\n")
    assert digest(b"").startswith("sha256:e3b0c442")


def test_a_problem_reads_as_place_what_and_mend():
    (problem,) = problems_of(changed("cleanup: always", "cleanup: sometimes"))
    assert str(problem) == (
        "boundary.yaml:35:12: `checkout.cleanup` is the text 'sometimes' — "
        "write `always`: Working trees are removed at the end of every run, also after a crash."
    )


# What is changed in the team's document, into what, and what check says of it. One row a rule.
IBAN = "{ name: iban-push, purpose: publish, repositories: [acme/iban-tools], kind: minted, minter: host-mint }"
TABLE = [
    # form
    ("cleanup: always", "cleanup: &x always", "anchors are not read"),
    ("cleanup: always", "cleanup: !!str always", "tags are not read"),
    ("  cleanup: always", "  cleanup: always\n  cleanup: always", "`cleanup` stands here twice, first in line"),
    ("cleanup: always", "cleanup: always\nchekout: {}", "unknown key `chekout`"),
    ("  prefix: ringfence/", "  prefx: ringfence/", "unknown key `prefx`"),
    ("  prefix: ringfence/\n", "", "`prefix` is missing in `branches`"),
    ("keep: 30d", "keep: 30", "is the number 30"),
    ("keep: 30d", "keep: 3 weeks", "is the text '3 weeks'"),
    ("name: Payments team, pilot", "name: <name>", "'<name>' was left to fill in"),
    ("name: Payments team, pilot", 'name: "a\\u202eb"', "cannot be seen"),
    ("# The team's own.", "# ghp_" + "a1B2" * 9, "looks like a secret (github-token)"),
    ("TZ: UTC", "TZ: AKIA" + "QWERTYUIOPASDFGH", "looks like a secret (aws-access-key-id)"),
    ("handoff: pull_request", "handoff: push", "`branches.handoff` is the text 'push'"),
    ("required: false", "required: no", "`commands.repositories.acme/payments.checks[4].required` is the text 'no'"),
    # people
    ("sections: [secrets, logs, models, network]", "sections: [logs, models, network]",
     "no owner signed for `secrets`"),
    ("role: compliance", "role: platform", "a route leads to an outside provider"),
    ("requesters: [mikael,", 'requesters: ["renovate[bot]",', "is an app"),
    ("requesters: [mikael,", 'requesters: ["*",', "over-broad"),
    ("requesters: [mikael,", "requesters: [everyone,", "over-broad"),
    ("requesters: [mikael,", "requesters: [Sofia,", "`sofia` is listed twice"),
    ("types: [bug,", 'types: ["bug*",', "no plain name"),
    ("readers: [Payments team,", "readers: [everyone,", "over-broad"),
    # storage
    ("location: /srv/ringfence", "location: /", "over-broad"),
    ("location: /srv/ringfence", "location: /etc/ringfence", "over-broad"),
    ("location: /srv/ringfence", "location: /srv/../etc", "is not a place"),
    ("retention: 180d", "retention: 1h", "a retention outside of 1d to 3650d"),
    ("bodies: 14d", "bodies: 181d", "never longer than the log that names them"),
    ("bodies: 14d", "bodies: 59m", "bodies are kept for an hour at least"),
    ("pattern: 'KD-[0-9]{8}'", "pattern: 'KD-([0-9]{8}'", "pattern `customer-number` cannot be used"),
    ("pattern: 'KD-[0-9]{8}'", "pattern: '(?s).{4,}'", "over-broad: it matches ordinary text"),
    ("network: { setup: []", "network: { setup: [{ host: '*.com', purpose: registry }]", "over-broad"),
    ("network: { setup: []", "network: { setup: [{ host: '*.co.uk', purpose: registry }]", "over-broad"),
    ("network: { setup: []", "network: { setup: [{ host: '*', purpose: registry }]", "over-broad"),
    ("network: { setup: []", "network: { setup: [{ host: '*.github.io', purpose: registry }]", "anybody can have"),
    ("network: { setup: []", "network: { setup: [{ host: 'a.*.internal', purpose: registry }]", "is no host"),
    ("network: { setup: []", "network: { setup: [{ host: 10.1.2.3, purpose: registry }]", "is no host"),
    ("network: { setup: []", "network: { setup: [{ host: localhost, purpose: service }]", "the worker itself"),
    ("network: { setup: []", "network: { setup: [{ host: Index.example.internal, purpose: registry }]", "lower case"),
    ("network: { setup: []", "network: { on_leak: ignore, setup: []", "on_leak"),
    ("network: { setup: []",
     "network: { setup: [{ host: '*.example.internal', purpose: registry, cidrs: [10.2.0.0/16] }]", "private network"),
    ("network: { setup: []",
     "network: { setup: [{ host: db.example.internal, purpose: service, cidrs: [10.0.0.0/8] }]", "over-broad"),
    ("network: { setup: []",
     "network: { setup: [{ host: db.example.internal, purpose: service, cidrs: [169.254.169.254/32] }]",
     "no rule opens"),
    ("network: { setup: []",
     "network: { setup: [{ host: db.example.internal, purpose: service, cidrs: [127.0.0.0/16] }]", "loopback"),
    ("network: { setup: []",
     "network: { setup: [{ host: db.example.internal, purpose: service, cidrs: [203.0.113.0/24] }]", "no exemption"),
    ("network: { setup: []", "network: { setup: [{ host: db.example.internal, purpose: service, cidrs: [x] }]",
     "no network"),
    ("network: { setup: []", "network: { setup: [{ host: db.example.internal, purpose: service, port: 3128 }]",
     "is taken"),
    ("network: { setup: []", "network: { setup: [{ host: a.example.internal, purpose: service }, "
     "{ host: b.example.internal, purpose: service }]", "the same door"),
    ("network: { setup: []", "network: { setup: [{ host: a.example.internal, purpose: registry }, "
     "{ host: a.example.internal, purpose: registry }]", "listed twice"),
    # repositories
    ("- name: acme/iban-tools\n", "- name: acme/*\n", "over-broad: it is a pattern"),
    ("- name: acme/iban-tools\n", "- name: ACME/payments\n", "`ACME/payments` is listed twice"),
    ("- name: acme/iban-tools\n", "- name: https://x/acme\n", "is no repository name"),
    ("context: [acme/payments-api-spec]", "context: [acme/iban-tools]", "context is read-only"),
    ("context: [acme/payments-api-spec]", "context: [acme/other]", "context repository 'acme/other' is not listed"),
    ("    access: read\n", "    access: read\n    stage: branch\n", "at stage branch with access `read`"),
    ("instructions: [AGENTS.md,", "instructions: [../AGENTS.md,", "instructions file"),
    ("base: main", "base: -main", "is no branch"),
    # branches
    ("prefix: ringfence/", 'prefix: ""', "over-broad"),
    ("prefix: ringfence/", "prefix: /", "over-broad"),
    ("prefix: ringfence/", "prefix: ringfence", "over-broad: without a slash"),
    ("prefix: ringfence/", "prefix: refs/heads/x/", "is a ref"),
    ("prefix: ringfence/", "prefix: a b/", "begins no branch name"),
    ("prefix: ringfence/", "prefix: main/", "overlap"),
    ("prefix: ringfence/", "prefix: hotfix/", "protects branches below the worker's own prefix"),
    ("protected: [main,", "protected: [", "'main', the base branch of acme/payments, is not protected"),
    ("protected: [main,", 'protected: [main, "**",', "protects branches below the worker's own prefix"),
    ("protected: [main,", 'protected: [main, "rel?",', "is no glob"),
    ("    - .github/**\n", "", "add `.github/**`"),
    ("    - CODEOWNERS\n", "    - /CODEOWNERS\n", "add `CODEOWNERS`"),
    ("    - deploy/**\n", '    - "**"\n', "every patch would be refused"),
    ("    - deploy/**\n", '    - "!deploy"\n', "is no glob"),
    ("tests: [tests/**,", 'tests: ["**",', "every file would be a test"),
    # commands
    ("    acme/iban-tools:\n", "    acme/payments-api-spec:\n", "nothing judges the change"),
    ("    acme/iban-tools:\n", "    acme/payments-api-spec:\n", "no command ever runs for it"),
    ("toolchains: [python, node]", "toolchains: [python, nodejs]", "toolchain 'nodejs' does not exist"),
    ("path: [/opt/python/bin, /opt/node/bin]", "path: [/opt/python/bin, /usr/bin]", "lies in none of its toolchains"),
    ("path: [/opt/python/bin, /opt/node/bin]", "path: []", "PATH is empty"),
    ("target: /opt/node", "target: /opt/python/node", "overlapping places"),
    ("target: /opt/node", "target: /workspace/node", "overlaps /workspace"),
    ("target: /opt/node", "target: /", "overlaps /workspace"),
    ("source: /opt/toolchains/node-22", "source: /", "over-broad"),
    ("source: /opt/toolchains/node-22", "source: /home/dana", "a whole home directory"),
    ("source: /opt/toolchains/node-22", "source: /root", "over-broad"),
    ("source: /opt/toolchains/node-22", "source: /var/run/docker.sock", "over-broad"),
    ("source: /opt/toolchains/node-22", "source: /srv/x/docker.sock", "`docker.sock` is where secrets are kept"),
    ("source: /opt/toolchains/node-22", "source: /home/dana/.ssh/x", "`.ssh` is where secrets are kept"),
    ("source: /opt/toolchains/node-22", "source: /srv/ringfence/mirrors", "overlaps `checkout.location`"),
    ("run: [mypy, src]", 'run: ["mypy src"]', "is no command"),
    ("run: [mypy, src]", "run: []", "`commands.repositories.acme/payments.checks[1].run` is empty"),
    ("run: [mypy, src], timeout: 5m", "run: [mypy, src], timeout: 3h", "longer than the whole run"),
    ("{ name: types, kind", "{ name: lint, kind", "`lint` is listed twice"),
    ("- { name: tests, kind: test, run: [sh, -c,", "- { name: tests, kind: policy, run: [sh, -c,",
     "nothing tests, lints"),
    ("README.md\"] }", "README.md\"], required: false }", "no check is required"),
    ("TZ: UTC", "LD_PRELOAD: /x.so", "steers what loads"),
    ("TZ: UTC", "GIT_SSH_COMMAND: x", "steers what loads"),
    ("TZ: UTC", "BASH_ENV: x", "steers what loads"),
    ("TZ: UTC", "https_proxy: http://x", "is set by the worker"),
    ("TZ: UTC", "SSL_CERT_FILE: /x", "whom to trust"),
    ("TZ: UTC", "PATH: /x", "is set by the worker"),
    ("TZ: UTC", "HOME: /x", "is set by the worker"),
    ("TZ: UTC", "DB_PASSWORD: x", "the name of a credential"),
    # models
    ("default: house/qwen3-coder", "default: house/qwen9", "is not offered by any route"),
    ("default: house/qwen3-coder", "default: outside/large-coder-2", "may not be sent acme/payments"),
    ("  default: house/qwen3-coder\n", "", "agents are given no model"),
    ("protocols: [chat, responses]", "protocols: [messages]", "of the kind `openai` does not speak messages"),
    ("protocols: [chat, responses]", "protocols: [chat, chat]", "twice"),
    ("protocols: [chat, responses]", "translate: [chat]", "takes chat as it is"),
    ("protocols: [chat, responses]", "translate: [gemini]", "gemini cannot be translated to any of `chat`"),
    ("protocols: [chat, responses]", "translate: [messages, messages]", "twice"),
    ("fallback: none", "fallback: [outside]", "'outside' is not offered by any route"),
    ("fallback: none", "fallback: [outside/*]", "'outside/*' is not offered by any route"),
    ("fallback: none", "fallback: []", "says nothing"),
    ("fallback: none", "fallback: [house/qwen3-coder]", "the default itself"),
    ("fallback: none", "fallback: [outside/large-coder-2, outside/large-coder-2]", "is listed twice"),
    ("fallback: none", "fallback: [outside/large-coder-2]\n  fallback_on: []", "no failure is named"),
    ("fallback: none", "fallback: [outside/large-coder-2]\n  fallback_on: [refused]", "fallback_on"),
    ("      region: the provider's data centres in the EU, by the same contract\n", "",
     "nobody said where route `outside`"),
    # money
    ("      - { model: house/qwen3-coder, input: 0.20, output: 0.60 }\n", "",
     "nobody knows what `house/qwen3-coder` costs"),
    ("model: house/qwen3-coder, input", "model: house/qwen3, input", "'house/qwen3' is not offered"),
    ("model: house/qwen3-coder, input", "model: outside/large-coder-2, input", "is listed twice"),
    ("input: 0.20", "input: -0.20", "input"),
    ("currency: EUR", "currency: euro", "currency"),
    ("as_of: 2026-03-01", "as_of: 2026-13-01", "as_of"),
    ("money: 12.00", "money: 0", "money"),
    ("retention: 180d", "retention: 1d", "counted from logs that may be removed"),
    ("models: [large-coder-2]", "models: [qwen3-coder]", "is offered by the routes `house` and `outside`"),
    ("models: [large-coder-2]", 'models: ["*"]', "over-broad"),
    ("credential: outside-models", "credential: code-read", "is no secret with purpose `model`"),
    ("repositories: [acme/iban-tools]\n      data_classes: [public]",
     "repositories: [acme/payments]\n      data_classes: [public]", "is internal, which route `outside` may not see"),
    ("endpoint: https://provider.example.com/v1", "endpoint: http://provider.example.com/v1", "in the clear"),
    ("endpoint: https://provider.example.com/v1", "endpoint: https://user:x@provider.example.com/v1", "is no address"),
    ("endpoint: https://provider.example.com/v1", "endpoint: https://provider.example.com/v1?key=x", "is no address"),
    ("endpoint: https://provider.example.com/v1", "endpoint: https://169.254.169.254/v1", "link-local"),
    ("endpoint: https://provider.example.com/v1", "endpoint: https://2130706433/v1", "address in disguise"),
    # secrets
    ("- { name: iban-push, purpose: publish", "- { name: code-read, purpose: publish", "one secret that can do both"),
    ("purpose: publish, repositories: [acme/payments],",
     "purpose: publish, repositories: [acme/payments-api-spec],", "is read-only"),
    (f"  - {IBAN}\n", "", "no secret serves the publish"),
    ("- { name: iban-push,",
     "- { name: second, purpose: checkout, repositories: [acme/iban-tools] }\n  - { name: iban-push,",
     "nothing chooses"),
    # least privilege: a narrow credential where one can be had, a reason where none can
    (IBAN, IBAN.replace(", kind: minted, minter: host-mint", ""), "does not say whether it is minted or durable"),
    (IBAN, IBAN.replace(", minter: host-mint", ""), "nothing says by which secret"),
    (IBAN, IBAN.replace("minter: host-mint", "minter: code-read"), "is no secret with purpose `mint`"),
    (IBAN, IBAN.replace("minter: host-mint", "minter: host-mint, lifetime: 2h"), "its tokens would live for"),
    (IBAN, IBAN.replace("minted, minter: host-mint", "durable, reason: the host is old"), "a narrow one can be had"),
    (IBAN, IBAN.replace("minter: host-mint", "minter: host-mint, reason: we like it so"), "needs no reason"),
    ("- { name: house-models, purpose: model }", "- { name: house-models, purpose: model, kind: durable }",
     "`kind` is for checkout and publish"),
    ("- { name: host-mint, purpose: mint }",
     "- { name: spare-mint, purpose: mint }\n  - { name: host-mint, purpose: mint }", "nothing is minted with"),
    ("- { name: host-mint, purpose: mint }", "- { name: host-mint, purpose: mint, repositories: [acme/payments] }",
     "is bound to what the secrets that name it say"),
    ("- { name: host-mint, purpose: mint }",
     "- { name: host-mint, purpose: mint }\n  - { name: hub, purpose: registry }",
     "no network rule puts the secret `hub` on requests"),
    ("- { name: outside-models, purpose: model }", "- { name: outside-models, purpose: registry }",
     "no network rule puts"),
    ("purpose: publish, repositories: [acme/iban-tools],", "purpose: publish,", "it names no repository"),
    # set-up
    ("setup_inputs: [src/**]", 'setup_inputs: ["**"]', "is every file"),
    ("setup_inputs: [src/**]", 'setup_inputs: ["src/?.py"]', "cannot be used"),
    ("setup_inputs: [src/**]", "setup_inputs: [src/**, src/**]", "twice"),
    ("      setup:\n        - [python, -m, compileall, -q, src]\n", "", "inputs of set-up and no set-up"),
    # limits
    ("file: 1GiB", "file: 9GiB", "one file may be larger than the disk"),
    ("attempts: 3", "attempts: 0", "`limits.run.attempts` is the number 0"),
    ("memory: 4GiB", "memory: 1MiB", "`memory` limits nothing, or everything"),
    ("cpus: 2", "cpus: .inf", "`limits.sandbox.cpus` is the text '.inf'"),
    ("files: 60, file: 1MiB, total: 5MiB", "files: 60, file: 6MiB, total: 5MiB", "larger than a patch"),
    ("reviewers: 1", "reviewers: 0", "`approval.reviewers` is the number 0"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "what"), TABLE, ids=range(len(TABLE)))
def test_what_must_not_stand_there_is_refused(old, new, what):
    found = problems_of(changed(old, new))
    said = [problem for problem in found if what in problem.what or what in problem.mend]
    assert said, [str(problem) for problem in found]
    assert all(problem.mend for problem in found)


def test_problems_stand_where_the_text_is_wrong():
    text = changed("source: /opt/toolchains/node-22", "source: /etc")
    (problem,) = problems_of(text)
    line = text.splitlines()[problem.line - 1]
    assert line[problem.column - 1 :].startswith("/etc")
    assert problem.path == "commands.toolchains.node.source"


def test_every_problem_is_told_at_once_and_in_order():
    text = changed("keep: 30d", "keep: 3x", changed("reviewers: 1", "reviewers: one", changed("TZ: UTC", "HOME: /x")))
    found = problems_of(text)
    assert [problem.line for problem in found] == [
        line_of(text, part) for part in ("keep: 3x", "HOME: /x", "reviewers: one")
    ]


def test_one_broken_section_does_not_hide_what_is_wrong_in_others():
    text = changed("approval: {", "approval: { colour: red,", changed("prefix: ringfence/", "prefix: /"))
    assert {"`colour`" in problem.what or "over-broad" in problem.what for problem in problems_of(text)} == {True}
    assert len(problems_of(text)) == 2


def test_a_secret_in_the_document_is_not_repeated_in_the_message():
    token = "ghp_" + "a1B2" * 9
    found = problems_of(changed("cleanup: always", f"cleanup: {token}"))
    assert found
    assert not any(token in str(problem) for problem in found)


MINTED = """  - { name: host-mint, purpose: mint }
  - { name: shop-read, purpose: checkout, repositories: [acme/shop], kind: minted, minter: host-mint }
"""


@pytest.mark.parametrize(
    ("kept", "what"),
    [
        ("kind: durable, reason: the host of 2009 cannot mint", None),
        ("kind: durable", "whoever gets hold of it has it for good"),
        ("kind: durable, reason: because", "reason"),
        ("kind: durable, reason: the host of 2009 cannot mint, minter: x", "nothing mints it"),
        ("kind: broad", "kind"),
    ],
)
def test_a_durable_credential_needs_a_reason_and_a_host_that_cannot_mint(kept, what):
    text = changed(
        MINTED, f"  - {{ name: shop-read, purpose: checkout, repositories: [acme/shop], {kept} }}\n", MINIMAL
    )
    if what is None:
        assert isinstance(parse(text), Boundary)
        return
    found = problems_of(text)
    assert [problem for problem in found if what in problem.what or what in problem.path], [str(p) for p in found]


def test_a_durable_credential_for_several_repositories_is_over_broad():
    one, rest = TEAM.split("secrets:", 1)
    head, tail = rest.split("  - name: code-read", 1)
    del head
    durable = "kind: durable\n    reason: the host of 2009 cannot mint"
    tail = tail.replace("kind: minted\n    minter: host-mint", durable)
    tail = tail.replace("kind: minted, minter: host-mint", durable.replace("\n    ", ", "))
    found = problems_of(f"{one}secrets:\n  - name: code-read{tail}")
    assert ["over-broad: one durable value for 3 repositories" in problem.what for problem in found] == [True]
