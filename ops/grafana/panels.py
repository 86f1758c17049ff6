"""The few kinds of panels that our dashboards have, over Grafana's own builders.

Queries are PromQL with Grafana's variables ``$instance`` (servers that were chosen) and ``$__rate_interval``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import logs as logs_builders
from grafana_foundation_sdk.builders import loki, prometheus, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

Panel = Builder[dashboard.Panel]
METRICS = common.DataSourceRef("prometheus", "${metrics}")
LOGS = common.DataSourceRef("loki", "${logs}")
HEIGHT = 8  # of Grafana's grid, which is 24 wide
_COLOURS = ("green", "orange", "red")


@dataclass(frozen=True, slots=True)
class Query:
    """PromQL, and the text that names each of its series (``{{label}}`` stands for a label)."""

    promql: str
    legend: str
    exemplars: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under one heading."""

    title: str
    panels: Sequence[Panel]


def lines(title: str, unit: str, *queries: Query, why: str = "", limit: float | None = None, width: int = 12) -> Panel:
    """Values over time; above ``limit`` the ground is red."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(why)
        .datasource(METRICS)
        .unit(unit)
        .min(0)
        .span(width)
        .height(HEIGHT)
        .fill_opacity(8)
        .show_points(common.VisibilityMode.NEVER)
        .legend(
            common_builders.VizLegendOptions()
            .display_mode(common.LegendDisplayMode.TABLE)
            .placement(common.LegendPlacement.BOTTOM)
            .show_legend(True)
            .calcs(["mean", "max"])
        )
        .tooltip(common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI))
    )
    if limit is not None:
        panel.thresholds(_thresholds([limit], ("transparent", "red"))).thresholds_style(
            common_builders.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.LINE_AND_AREA)
        )
    for number, query in enumerate(queries):
        panel.with_target(_target(query, number))
    return panel


def number(title: str, unit: str, promql: str, *, limits: Sequence[float] = (), why: str = "", width: int = 4) -> Panel:
    """The newest value; orange from the first of the ``limits`` on, red from the second. Descending limits: below them."""
    colours = _COLOURS
    if len(limits) == 2 and limits[0] > limits[1]:
        limits, colours = (limits[1], limits[0]), ("red", "orange", "green")
    return (
        stat.Panel()
        .title(title)
        .description(why)
        .datasource(METRICS)
        .unit(unit)
        .span(width)
        .height(4)
        .graph_mode(common.BigValueGraphMode.AREA)
        .color_mode(common.BigValueColorMode.VALUE)
        .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(_thresholds(limits, colours))
        .with_target(_target(Query(promql, title), 0))
    )


def states(title: str, query: Query, names: Sequence[str], colours: Sequence[str], *, why: str = "") -> Panel:
    """What each series was, over time: value 0 is ``names[0]``, and so on."""
    options = {
        str(value): dashboard.ValueMappingResult(text=name, color=colour, index=value)
        for value, (name, colour) in enumerate(zip(names, colours, strict=True))
    }
    return (
        statetimeline.Panel()
        .title(title)
        .description(why)
        .datasource(METRICS)
        .span(24)
        .height(HEIGHT)
        .show_value(common.VisibilityMode.NEVER)
        .mappings([dashboard.ValueMap(options)])
        .thresholds(_thresholds(range(1, len(names)), colours))
        .with_target(_target(query, 0))
    )


def rows_of(title: str, promql: str, *, why: str = "", width: int = 12) -> Panel:
    """The series that there are now, a row each."""
    query = prometheus.Dataquery().expr(promql).instant().format(PromQueryFormat.TABLE).ref_id("A")
    panel = table.Panel().title(title).description(why).datasource(METRICS).span(width).height(HEIGHT)
    return panel.with_target(query.datasource(METRICS))


def log_lines(title: str, logql: str, *, width: int = 24) -> Panel:
    """The lines that a query of Loki finds, newest first."""
    query = loki.Dataquery().expr(logql).ref_id("A").datasource(LOGS)
    panel = logs_builders.Panel().title(title).datasource(LOGS).span(width).height(HEIGHT).show_time(True)
    return panel.wrap_log_message(True).enable_log_details(True).with_target(query)


def page(uid: str, title: str, description: str, rows: Sequence[Row], *, since: str = "now-6h") -> dashboard.Dashboard:
    """A whole dashboard, with firing alerts marked on its graphs and links to the other ones."""
    made = (
        builders.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags(["reelsift"])
        .readonly()
        .time(since, "now")
        .refresh("30s")
        .timezone("browser")
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .link(builders.DashboardLink("reelsift").type(dashboard.DashboardLinkType.DASHBOARDS).tags(["reelsift"]))
        .with_variable(builders.DatasourceVariable("metrics").label("Prometheus").type("prometheus"))
        .with_variable(builders.DatasourceVariable("logs").label("Loki").type("loki"))
        .with_variable(
            builders.QueryVariable("instance")
            .label("Server")
            .datasource(METRICS)
            .query('label_values(up{job="reelsift"}, instance)')
            .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .multi(True)
            .include_all(True)
            .all_value(".*")
        )
        .annotation(
            builders.AnnotationQuery()
            .name("Alerts")
            .datasource(METRICS)
            .enable(True)
            .icon_color("red")
            .expr('ALERTS{alertname=~"Reelsift.*", alertstate="firing", severity=~"critical|warning"}')
            .title_format("{{alertname}}")
            .text_format("{{instance}} {{kind}}")
        )
    )
    for row in rows:
        made.with_row(builders.Row(row.title))
        for panel in row.panels:
            made.with_panel(panel)
    built = made.build()
    for place, panel in enumerate(built.panels or [], start=1):
        panel.id_val = place  # links to a panel stay what they are
    return built


def _target(query: Query, number: int) -> prometheus.Dataquery:
    target = (
        prometheus.Dataquery().expr(query.promql).legend_format(query.legend).ref_id(chr(ord("A") + number)).range()
    )
    return target.datasource(METRICS).exemplar(query.exemplars)


def _thresholds(limits: Sequence[float], colours: Sequence[str]) -> builders.ThresholdsConfig:
    steps = [dashboard.Threshold(value=None, color=colours[0])]
    steps += [
        dashboard.Threshold(value=limit, color=colour) for limit, colour in zip(limits, colours[1:], strict=False)
    ]
    return builders.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(steps)
