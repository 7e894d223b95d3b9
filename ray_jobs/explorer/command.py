"""What does `headrace explore` do? It counts a store's corpus and writes one page in which people can look around."""

from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec

from cluster.readable import many, noun, whole
from cluster.storage.store import Store
from cluster.storage.uri import expanded_path
from data_ops.audit.account import read_stand
from data_ops.lake.lake import Lake
from data_ops.survey.corpus import survey
from ray_jobs.config.schema import Config
from ray_jobs.explorer.counting import all_sites
from ray_jobs.explorer.figures import SiteFigures
from ray_jobs.explorer.gathering import Exploration, chosen_runs, gather_figures, settings_again
from ray_jobs.explorer.page import explorer_page
from ray_jobs.outcome import ConfigError

SITES_LISTED = 20
Answer = tuple[list[str], Mapping[str, object]]  # lines for people, and the same as JSON values


def explore_command(store: Store, config: Config, *, to: str, site: str | None, samples: int, sources: bool) -> Answer:
    """Tell of a site, or write the page to a file; of the weights of the run that is named, else of any."""
    run = config.name if "name" in config.model_fields_set else None
    if site is not None:
        return look_up(store, Exploration(run), site)
    return write_explorer(store, Exploration(run, samples, settings_again(config, store) if sources else None), to)


def write_explorer(store: Store, looked: Exploration, to: str) -> Answer:
    """Write the page to a file. ConfigError where the store has no such run or the file cannot be written."""
    figures = gather_figures(store, looked)
    path = expanded_path(to)
    try:
        path.write_text(explorer_page(figures), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--to={to} cannot be written: {error.strerror or error}; name another file") from error
    counted = f"{many(figures.records, 'record')} of {many(len(figures.sources), 'source')}"
    line = f"explorer  {counted} and {many(figures.num_sites, 'site')} in {path}"
    return [line], {**msgspec.to_builtins(figures), "page": str(path)}


def look_up(store: Store, looked: Exploration, site: str) -> Answer:
    """Tell of a site, and of those below it or beginning with it, among all of the store. ConfigError for no name."""
    host, folder = names = site_names(site)
    if not host:
        raise ConfigError(f"--site={site!r} names no site; give a host such as example.com, or a folder")
    lake, runs = Lake(store), chosen_runs(store, looked.run)
    corpus = survey(lake, {run: read_stand(lake, run) for run in runs}, 0, 0)
    found = [one for one in all_sites(corpus.sites) if any(is_match(one.site, name) for name in names)]
    found.sort(key=lambda one: one.site not in names)
    exact = sum(one.records for one in found if one.site in names)
    asked = folder if any(one.site == folder for one in found) else host
    verdict = f"yes, with {many(exact, 'record')}" if exact else "no; but these begin or end so:" if found else "no"
    lines = [f"{asked}: {verdict}", *(_site_line(one) for one in found[:SITES_LISTED])]
    if further := found[SITES_LISTED:]:
        lines.append(f"and {len(further)} further {noun(len(further), 'site')}; --json tells of all")
    return lines, {"site": asked, "records": exact, "found": msgspec.to_builtins(found)}


def site_names(text: str) -> tuple[str, str]:
    """What a person may mean by a site, or by the beginning of one: the host of it, and a folder as it is written.

    >>> site_names("https://www.Example.com/a/"), site_names("Data/texts")
    (('example.com', 'https://www.Example.com/a'), ('data/texts', 'Data/texts'))
    """
    written = text.strip().rstrip("/")
    host = (urlsplit(written).hostname or "") if "://" in written else written.lower()
    return host.removeprefix("www.").rstrip(".") or written, written


def is_match(site: str, name: str) -> bool:
    """Whether a site has this name, lies below it, or begins so."""
    return site.startswith(name) or site.endswith(f".{name}")


def _site_line(one: SiteFigures) -> str:
    outcomes = ", ".join(f"{whole(number)} {name.replace('_', ' ')}" for name, number in one.outcomes.items())
    return f"  {one.site} ({one.source}): {many(one.records, 'record')}, {outcomes}"
