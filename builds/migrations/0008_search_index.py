"""The full-text index of the search words, in each database's own syntax. The words are already split, so the databases parse nothing."""

from django.db import migrations

FTS5 = """
CREATE VIRTUAL TABLE builds_search_index USING fts5(
    words, content='builds_searchwords', content_rowid='submission_id',
    tokenize='unicode61 remove_diacritics 0', prefix='2 3', detail='none'
);
CREATE TRIGGER builds_search_added AFTER INSERT ON builds_searchwords BEGIN
    INSERT INTO builds_search_index(rowid, words) VALUES (new.submission_id, new.words);
END;
CREATE TRIGGER builds_search_removed AFTER DELETE ON builds_searchwords BEGIN
    INSERT INTO builds_search_index(builds_search_index, rowid, words) VALUES ('delete', old.submission_id, old.words);
END;
CREATE TRIGGER builds_search_changed AFTER UPDATE ON builds_searchwords WHEN old.words <> new.words BEGIN
    INSERT INTO builds_search_index(builds_search_index, rowid, words) VALUES ('delete', old.submission_id, old.words);
    INSERT INTO builds_search_index(rowid, words) VALUES (new.submission_id, new.words);
END;
"""
NO_FTS5 = """
DROP TRIGGER builds_search_added;
DROP TRIGGER builds_search_removed;
DROP TRIGGER builds_search_changed;
DROP TABLE builds_search_index;
"""
GIN = """
CREATE INDEX builds_search_index ON builds_searchwords USING gin (array_to_tsvector(string_to_array(words, ' ')))
"""


def make_index(apps, schema_editor):
    run(schema_editor, FTS5, GIN)


def remove_index(apps, schema_editor):
    run(schema_editor, NO_FTS5, "DROP INDEX builds_search_index")


def run(schema_editor, sqlite, postgresql):
    if schema_editor.connection.vendor == "sqlite":
        for statement in statements(sqlite):
            schema_editor.execute(statement, params=None)
    elif schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(postgresql, params=None)


def statements(script):
    """The script's statements. A trigger contains other statements and ends with ``END;``."""
    statement = ""
    for line in script.strip().splitlines():
        statement += f"{line}\n"
        inside = statement.startswith("CREATE TRIGGER") and line != "END;"
        if line.endswith(";") and not inside:
            yield statement
            statement = ""


class Migration(migrations.Migration):
    dependencies = [("builds", "0007_search_words")]

    operations = [migrations.RunPython(make_index, remove_index)]
