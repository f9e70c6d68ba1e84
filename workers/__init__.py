"""The background processes: relay, projections, reactions and tasks."""
