"""An internal service that only the validation phase may reach: a real PostgreSQL, and its own client in sandboxes."""

from database import Postgres, postgres
from ringfence.domain import events as e
from worksite import REPOSITORY, Worksite

HOST = "stock-db.example.internal"
ASKED = "select wanted from stock where sku = 'GLV-M'"


def prepare(site: Worksite, server: Postgres) -> str:
    """Boundary and settings; gives the command that asks the database, as any developer would type it."""
    psql = f"psql -XtAw -h {HOST} -p {server.port} -U checks -d postgres -c"
    ask = f'{psql} "{ASKED}"'
    rule = {"host": HOST, "port": server.port, "purpose": "service", "cidrs": ["127.0.0.1/32"]}
    check = f'wanted=$({ask}) && test "$(cat value.txt)" = "$wanted" && {psql} "insert into stock values (\'seen\', 1)'
    check += ' on conflict (sku) do update set wanted = stock.wanted + 1"'
    commands = {
        "toolchains": ["system"],
        "path": [str(server.programs), "/usr/bin"],
        "setup": [["sh", "-c", f"! {ask} 2>setup.said; rm setup.said"]],
        "checks": [{"name": "test", "kind": "test", "run": ["sh", "-c", check], "timeout": "60s"}],
    }
    site.boundary({"network.validation": [rule], "commands.repositories": {REPOSITORY: commands}})
    with site.settings_path.open("a") as settings:
        settings.write(f'[egress.hosts]\n"{HOST}" = ["127.0.0.1"]\n')
    return ask


def test_a_check_talks_to_a_real_postgres_that_the_agent_cannot_reach(site: Worksite) -> None:
    with postgres() as server:
        ask = prepare(site, server)
        before = server.connections()
        # The agent tries by name, then by the address and every socket that a client could find by itself.
        tries = (
            f"{ask} && echo 9 > value.txt; psql -XtAwh 127.0.0.1 -p {server.port} -U checks -d postgres -c 'table x'"
        )
        site.story(f"{tries}; psql -XtAwlU checks; echo 2 > value.txt")
        code, view = site.run()
        assert (code, view.outcome) == (0, "pull_request"), view
        # That the base is wrong only the database could tell; the patch is right, and the check wrote so down.
        assert server.ask("select wanted from stock where sku = 'seen'") == "1"
        assert server.connections() - before == 3 + 1, "twice by the check on the patch, once on the base, once by us"
    ended = [event for event in site.events(view.id) if isinstance(event, e.CheckEnded)]
    assert [(one.side, one.passed) for one in ended] == [("base", False), ("patch", True)]
    named = f"network.validation.{HOST}:{server.port}"
    decided = [event for event in site.events(view.id) if isinstance(event, e.EgressDecided)]
    assert {(one.phase, one.decision, one.rule) for one in decided} == {
        ("setup", "deny", "network.setup"),
        ("agent", "deny", "network.agent"),
        ("validation", "allow", named),
    }
    refused = [one for one in decided if one.role == "agent"]
    assert {one.destination for one in refused} == {f"{HOST}:{server.port}"}
    assert len(refused) >= 2, "by its name, and by the address of the door"
    assert named in site.ringfence("show", view.id, "--network").stdout
