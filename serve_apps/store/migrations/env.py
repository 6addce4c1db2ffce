"""Alembic's entry: runs on the connection that `serve_apps.store.migrations.upgrade` hands over."""

from alembic import context

from serve_apps.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, version_table="aima_schema_version"
)
with context.begin_transaction():
    context.run_migrations()
