"""Copies that an invoice gets of what hangs on its order: addresses and custom variables (5)."""

from __future__ import annotations

from collections.abc import Iterable

from kivitendo_task_server.jobs.periodic_invoices.master_data import Cursor


def clone_item_variables(cursor: Cursor, pairs: Iterable[tuple[int | None, int]]) -> None:
    """Custom variables of order items go to the invoice's rows (5.4): pairs of their ids."""
    _clone_variables(cursor, pairs, "orderitems", "IC", "invoice")


def clone_addresses(
    cursor: Cursor, clones: list[tuple[int, int, int]], present: frozenset[str]
) -> None:
    """Orders' own delivery addresses become the invoices' own (5.2.3).

    ``clones`` are the id of the address, that of its copy, and that of the invoice; ``present``
    are the columns that shipto has here.
    """
    if not clones:
        return
    fixed = {"shipto_id", "trans_id", "module", "itime", "mtime"}
    names = ", ".join(sorted(present - fixed))
    old, new, invoices = ([clone[n] for clone in clones] for n in range(3))
    cursor.execute(
        f"INSERT INTO shipto (shipto_id, trans_id, module, {names})"  # noqa: S608
        f" SELECT clone.new_id, clone.ar_id, 'AR', {names}"
        "   FROM unnest(%s::int[], %s::int[], %s::int[]) clone (old_id, new_id, ar_id)"
        "   JOIN shipto ON shipto.shipto_id = clone.old_id",
        (old, new, invoices),
    )
    _clone_variables(cursor, [(clone[0], clone[1]) for clone in clones], "", "ShipTo", "")


def _clone_variables(
    cursor: Cursor,
    pairs: Iterable[tuple[int | None, int]],
    sub_module: str,
    module: str,
    new_sub_module: str,
) -> None:
    pairs = list(pairs)
    if not pairs:
        return
    cursor.execute(
        "INSERT INTO custom_variables (config_id, trans_id, sub_module, bool_value,"
        "                              timestamp_value, text_value, number_value)"
        " SELECT variable.config_id, clone.new_id, %s, coalesce(variable.bool_value, false),"
        "        variable.timestamp_value, variable.text_value, variable.number_value"
        "   FROM unnest(%s::int[], %s::int[]) clone (old_id, new_id)"
        "   JOIN custom_variables variable"
        "     ON variable.trans_id = clone.old_id AND variable.sub_module = %s"
        "   JOIN custom_variable_configs config"
        "     ON config.id = variable.config_id AND config.module = %s"
        "  ORDER BY clone.new_id, variable.id",
        (
            new_sub_module,
            [old for old, _ in pairs],
            [new for _, new in pairs],
            sub_module,
            module,
        ),
    )
