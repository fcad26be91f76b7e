"""Executors: one actor type per engine, each the only owner of its engine."""
