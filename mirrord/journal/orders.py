"""The table `orders`: changes in, those that are newer than what was recorded of their keys out."""

from collections.abc import Collection, Sequence

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from mirrord.journal.statements import LOOKUP_MOST, Prepared
from mirrord.journal.tables import orders
from mirrord.model.change import Change


class Orders:
    """The newest order of each key, also of one that is gone: a `created` that comes late must not bring it back."""

    def __init__(self, dialect: sa.Dialect) -> None:
        make = postgresql.insert if dialect.name == "postgresql" else sqlite.insert
        insert = make(orders)
        latest = {"at_text": insert.excluded.at_text, "ownerless_since": sa.null()}
        names = ["mirror", "key", "at_text"]
        self._write = Prepared(
            insert.on_conflict_do_update(index_elements=["mirror", "key"], set_=latest), dialect, names
        )

    def newer(self, connection: sa.Connection, mirror: str, changes: Sequence[Change]) -> list[Change]:
        """`changes` without those that were overtaken or came before, each as if those before it were recorded.

        Of equal orders the later one counts: MinIO's are times. Changes without an order are all there.
        """
        newest = _look_up(connection, mirror, list({change.key for change in changes if change.order is not None}))
        kept = list[Change]()
        for change in changes:
            if change.order is not None:
                if change.key in newest and change.order < newest[change.key]:
                    continue
                newest[change.key] = change.order
            kept.append(change)
        return kept

    def remember(
        self, connection: sa.Connection, mirror: str, changes: Sequence[Change], *, but: Collection[str]
    ) -> None:
        """The orders of `changes`, as `newer` left them; `but` of keys whose changes are given again."""
        last = {change.key: change.order for change in changes if change.order is not None and change.key not in but}
        if last:
            values = [{"mirror": mirror, "key": key, "at_text": order} for key, order in last.items()]
            self._write.run_many(connection, values)


def _look_up(connection: sa.Connection, mirror: str, keys: Sequence[str]) -> dict[str, str]:
    found = dict[str, str]()
    for start in range(0, len(keys), LOOKUP_MOST):
        among = orders.c.key.in_(keys[start : start + LOOKUP_MOST])
        query = sa.select(orders.c.key, orders.c.at_text).where(orders.c.mirror == mirror, among).with_for_update()
        found.update((key, at_text) for key, at_text in connection.execute(query))
    return found
