"""What SelfTest's module Transactions asserts about the books of a year (jobs.md, 1.17).

Each assertion is a query for what violates it: no rows, no complaint. ``%(first)s`` and
``%(last)s`` are the first and last day of the year, meant for a row's own transdate. Titles are
German like kivitendo's; nothing reads them but people.

Two assertions differ from the original, where they are broken: number 1 can fail, number 33 looks
at ar. Number 28 is always one assertion, so there are always 34.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True)
class Assertion:
    """``violations`` selects one text column: a remark for each violation."""

    title: str
    violations: str


def period(day: date) -> Mapping[str, date]:
    """The parameters of all queries: the year of ``day``."""
    return {"first": date(day.year, 1, 1), "last": date(day.year, 12, 31)}


BALANCES_BEFORE = 22
"""The balances of account 9000 are told before this assertion."""

BALANCES = """
    SELECT 'Saldo von Konto 9000 am ' || to_char(day, 'DD.MM.YYYY') || ': '
           || coalesce((SELECT sum(a.amount) FROM acc_trans a JOIN chart c ON c.id = a.chart_id
                        WHERE c.accno = '9000' AND a.transdate <= day), 0)
    FROM (VALUES (%(first)s), (%(last)s)) AS days (day) ORDER BY day"""


def _for(table: str, query: str) -> str:
    """The query for one of the tables that share it; the name is one of ours."""
    return query.replace("{table}", table)


_CANCELLED = """
    SELECT '{table}: Summe ' || sum(amount) FROM {table}
    WHERE id IN (SELECT id FROM {table}
                 WHERE storno AND storno_id IS NULL AND transdate BETWEEN %(first)s AND %(last)s)
       OR storno_id IN (SELECT id FROM {table} WHERE storno AND storno_id IS NULL
                        AND transdate BETWEEN %(first)s AND %(last)s)
    HAVING sum(amount) <> 0"""

_CANCELLATIONS = """
    SELECT '{table}: Summe ' || sum(amount) FROM {table}
    WHERE id IN (SELECT unnest(ARRAY[id, storno_id]) FROM {table}
                 WHERE storno AND storno_id IS NOT NULL
                   AND transdate BETWEEN %(first)s AND %(last)s)
    HAVING sum(amount) <> 0"""

_OVERPAID = """
    SELECT invnumber || ': Betrag ' || amount || ', bezahlt ' || paid FROM {table}
    WHERE transdate BETWEEN %(first)s AND %(last)s AND abs(paid) > abs(amount) ORDER BY id"""

_BOOKED_LATER = """
    SELECT '{table} ' || id || ': Buchungsdatum ' || gldate || ', angelegt ' || itime::date
    FROM {table}
    WHERE transdate BETWEEN %(first)s AND %(last)s AND itime::date <> gldate ORDER BY id"""

ASSERTIONS: tuple[Assertion, ...] = (
    Assertion(
        "Erfolgskonten ohne EÜR-Position haben keinen Saldo",
        """SELECT c.accno || ': ' || sum(a.amount)
           FROM acc_trans a JOIN chart c ON c.id = a.chart_id
           WHERE c.category IN ('I', 'E') AND c.pos_eur IS NULL AND a.amount <> 0
             AND a.transdate BETWEEN %(first)s AND %(last)s
           GROUP BY c.accno HAVING sum(a.amount) <> 0 ORDER BY c.accno""",
    ),
    Assertion(
        "Bestandskonten haben keine EÜR-Position",
        """SELECT accno || ': Position ' || pos_eur FROM chart
           WHERE category IN ('A', 'L', 'Q') AND pos_eur IS NOT NULL ORDER BY accno""",
    ),
    Assertion(
        "Die Buchungen jeder Transaktion ergeben zusammen 0",
        """SELECT 'Transaktion ' || trans_id || ': ' || sum(amount) FROM acc_trans
           WHERE transdate BETWEEN %(first)s AND %(last)s
           GROUP BY trans_id HAVING sum(amount) <> 0 ORDER BY trans_id""",
    ),
    Assertion(
        "Jede Buchung gehört zu einem Beleg (ar, ap oder gl)",
        """SELECT 'Transaktion ' || a.trans_id || ': ' || count(*) || ' Buchungen'
           FROM acc_trans a
           WHERE a.transdate BETWEEN %(first)s AND %(last)s
             AND NOT EXISTS (SELECT 1 FROM ar WHERE ar.id = a.trans_id)
             AND NOT EXISTS (SELECT 1 FROM ap WHERE ap.id = a.trans_id)
             AND NOT EXISTS (SELECT 1 FROM gl WHERE gl.id = a.trans_id)
           GROUP BY a.trans_id ORDER BY a.trans_id""",
    ),
    Assertion(
        "Jede Rechnungsposition gehört zu einer Rechnung des Jahres",
        # invoice.transdate is text; what is not an ISO date is not in any year
        """SELECT 'Position ' || i.id || ' von ' || coalesce(i.trans_id::text, '?')
           FROM invoice i
           WHERE i.transdate ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}$'
             AND i.transdate BETWEEN %(first)s::text AND %(last)s::text
             AND NOT EXISTS (SELECT 1 FROM ar WHERE ar.id = i.trans_id
                             AND ar.transdate BETWEEN %(first)s AND %(last)s)
             AND NOT EXISTS (SELECT 1 FROM ap WHERE ap.id = i.trans_id
                             AND ap.transdate BETWEEN %(first)s AND %(last)s)
           ORDER BY i.id""",
    ),
    Assertion(
        "Erlösbuchungen der Verkaufsrechnungen ergeben deren Nettobetrag",
        """SELECT r.invnumber || ': netto ' || r.netamount || ', gebucht ' || sum(a.amount)
           FROM ar r JOIN acc_trans a ON a.trans_id = r.id
           WHERE r.type = 'invoice' AND a.chart_link LIKE 'AR\\_amount%%'
             AND a.transdate BETWEEN %(first)s AND %(last)s
           GROUP BY r.id, r.invnumber, r.netamount
           HAVING sum(a.amount) <> r.netamount ORDER BY r.id""",
    ),
    Assertion(
        "Aufwandsbuchungen der Einkaufsrechnungen ergeben deren Nettobetrag",
        """SELECT r.invnumber || ': netto ' || r.netamount || ', gebucht ' || sum(a.amount)
           FROM ap r JOIN acc_trans a ON a.trans_id = r.id
           WHERE (a.chart_link LIKE '%%AP\\_amount%%' OR a.chart_link LIKE '%%IC\\_cogs%%')
             AND a.transdate BETWEEN %(first)s AND %(last)s
           GROUP BY r.id, r.invnumber, r.netamount
           HAVING sum(a.amount) <> -r.netamount ORDER BY r.id""",
    ),
    Assertion(
        "Summe der Rechnungspositionen entspricht der Summe der Nettobeträge",
        """SELECT 'Positionen ' || positions || ', Rechnungen ' || invoices
           FROM (SELECT coalesce(sum(round(i.qty * i.sellprice
                                           / coalesce(nullif(i.price_factor, 0), 1), 2)), 0)
                        AS positions
                 FROM invoice i JOIN ar ON ar.id = i.trans_id
                 WHERE ar.transdate BETWEEN %(first)s AND %(last)s) p,
                (SELECT coalesce(sum(netamount), 0) AS invoices FROM ar
                 WHERE invoice AND transdate BETWEEN %(first)s AND %(last)s) n
           WHERE abs(positions - invoices) >= 1""",
    ),
    Assertion(
        "Keine Rechnungsnummer ist doppelt vergeben",
        """SELECT invnumber || ': ' || count(*) || '-mal' FROM ar
           WHERE transdate BETWEEN %(first)s AND %(last)s
           GROUP BY invnumber HAVING count(*) > 1 ORDER BY invnumber""",
    ),
    Assertion("Stornierte Verkaufsbelege und ihre Stornos heben sich auf", _for("ar", _CANCELLED)),
    Assertion(
        "Stornos von Verkaufsbelegen und die Originale heben sich auf",
        _for("ar", _CANCELLATIONS),
    ),
    Assertion("Stornierte Einkaufsbelege und ihre Stornos heben sich auf", _for("ap", _CANCELLED)),
    Assertion(
        "Stornos von Einkaufsbelegen und die Originale heben sich auf",
        _for("ap", _CANCELLATIONS),
    ),
    Assertion(
        "Zahlungen auf Verkaufsbelege ergeben den bezahlten Betrag (Konten)",
        """SELECT r.invnumber || ': bezahlt ' || r.paid || ', gebucht ' || -sum(a.amount)
           FROM ar r JOIN acc_trans a ON a.trans_id = r.id JOIN chart c ON c.id = a.chart_id
           WHERE NOT r.storno AND r.type <> 'final_invoice' AND c.link LIKE '%%AR\\_paid%%'
             AND r.transdate BETWEEN %(first)s AND %(last)s
           GROUP BY r.id HAVING r.paid + sum(a.amount) <> 0 ORDER BY r.id""",
    ),
    Assertion(
        "Zahlungen auf Einkaufsbelege ergeben den bezahlten Betrag (Konten)",
        """SELECT r.invnumber || ': bezahlt ' || r.paid || ', gebucht ' || sum(a.amount)
           FROM ap r JOIN acc_trans a ON a.trans_id = r.id JOIN chart c ON c.id = a.chart_id
           WHERE c.link LIKE '%%AP\\_paid%%' AND r.transdate BETWEEN %(first)s AND %(last)s
           GROUP BY r.id HAVING r.paid - sum(a.amount) <> 0 ORDER BY r.id""",
    ),
    Assertion("Kein Verkaufsbeleg ist überzahlt", _for("ar", _OVERPAID)),
    Assertion("Kein Einkaufsbeleg ist überzahlt", _for("ap", _OVERPAID)),
    Assertion(
        "Stornierte Verkaufsbelege sind ausgeglichen",
        """SELECT invnumber || ': Betrag ' || amount || ', bezahlt ' || paid FROM ar
           WHERE storno AND paid <> amount AND transdate BETWEEN %(first)s AND %(last)s
           ORDER BY id""",
    ),
    Assertion(
        "Zu jedem stornierten Beleg gibt es ein Storno",
        """SELECT invnumber FROM ar
           WHERE storno AND storno_id IS NULL AND transdate BETWEEN %(first)s AND %(last)s
             AND NOT EXISTS (SELECT 1 FROM ar other WHERE other.storno_id = ar.id)
           UNION ALL
           SELECT invnumber FROM ap
           WHERE storno AND storno_id IS NULL AND transdate BETWEEN %(first)s AND %(last)s
             AND NOT EXISTS (SELECT 1 FROM ap other WHERE other.storno_id = ap.id)""",
    ),
    Assertion(
        "Im Jahr bezahlte Verkaufsbelege: Zahlungen ergeben den bezahlten Betrag",
        """SELECT r.invnumber || ': bezahlt ' || r.paid || ', gebucht ' || -sum(a.amount)
           FROM ar r JOIN acc_trans a ON a.trans_id = r.id AND a.chart_link ILIKE '%%paid%%'
           WHERE NOT r.storno AND r.type <> 'final_invoice'
           GROUP BY r.id
           HAVING bool_or(a.transdate BETWEEN %(first)s AND %(last)s)
              AND r.paid <> -sum(a.amount) ORDER BY r.id""",
    ),
    Assertion(
        "Jedes Konto hat einen Steuerschlüssel",
        """SELECT accno || ' ' || coalesce(description, '') FROM chart
           WHERE charttype IS DISTINCT FROM 'H'
             AND NOT EXISTS (SELECT 1 FROM taxkeys WHERE taxkeys.chart_id = chart.id)
           ORDER BY accno""",
    ),
    Assertion(
        "Zu jeder Buchung mit Steuerschlüssel gibt es eine Steuerbuchung",
        """SELECT 'Transaktion ' || a.trans_id || ': Steuerschlüssel ' || a.taxkey
           FROM acc_trans a
           WHERE a.transdate BETWEEN %(first)s AND %(last)s
             AND a.taxkey NOT IN (SELECT taxkey FROM tax
                                  WHERE rate = 0 OR reverse_charge_chart_id IS NOT NULL)
             AND NOT EXISTS (SELECT 1 FROM acc_trans t
                             WHERE t.trans_id = a.trans_id AND t.chart_link LIKE '%%tax%%')
           GROUP BY a.trans_id, a.taxkey ORDER BY a.trans_id, a.taxkey""",
    ),
    Assertion(
        "Keine Bankbewegung ist mit mehr als ihrem Betrag verbucht",
        """SELECT 'Bankbewegung ' || id || ': Betrag ' || amount || ', verbucht ' || invoice_amount
           FROM bank_transactions
           WHERE transdate BETWEEN %(first)s AND %(last)s AND abs(invoice_amount) > abs(amount)
           ORDER BY id""",
    ),
    Assertion(
        "Zahlungsbuchungen der Verkaufsbelege ergeben den bezahlten Betrag",
        """SELECT r.invnumber || ': bezahlt ' || r.paid || ', gebucht ' || -coalesce(sum(a.amount)
                      FILTER (WHERE a.chart_link LIKE '%%AR\\_paid%%' OR a.fx_transaction), 0)
           FROM ar r JOIN acc_trans a ON a.trans_id = r.id
           WHERE r.type <> 'final_invoice'
           GROUP BY r.id
           HAVING bool_or(a.transdate BETWEEN %(first)s AND %(last)s)
              AND r.paid <> -coalesce(sum(a.amount)
                      FILTER (WHERE a.chart_link LIKE '%%AR\\_paid%%' OR a.fx_transaction), 0)
           ORDER BY r.id""",
    ),
    Assertion(
        "Zahlungsbuchungen der Einkaufsbelege ergeben den bezahlten Betrag",
        """SELECT r.invnumber || ': bezahlt ' || r.paid || ', gebucht ' || coalesce(sum(a.amount)
                      FILTER (WHERE a.chart_link LIKE '%%AP\\_paid%%'), 0)
           FROM ap r JOIN acc_trans a ON a.trans_id = r.id
           GROUP BY r.id
           HAVING bool_or(a.transdate BETWEEN %(first)s AND %(last)s)
              AND r.paid <> coalesce(sum(a.amount)
                      FILTER (WHERE a.chart_link LIKE '%%AP\\_paid%%'), 0)
           ORDER BY r.id""",
    ),
    Assertion(
        "Kein Beleg mit Zahlungsdatum ist ohne Zahlung",
        """SELECT r.invnumber || ': Zahlungsdatum ' || r.datepaid
           FROM (SELECT id, invnumber, datepaid, paid FROM ar
                 UNION ALL SELECT id, invnumber, datepaid, paid FROM ap) r
           WHERE r.datepaid BETWEEN %(first)s AND %(last)s AND r.paid = 0
             AND NOT EXISTS (SELECT 1 FROM acc_trans a
                             WHERE a.trans_id = r.id AND a.chart_link LIKE '%%paid%%')
           ORDER BY r.id""",
    ),
    Assertion(
        "Jede abgeglichene Bankbewegung hat einen Abgleich",
        """SELECT 'Bankbewegung ' || b.id FROM bank_transactions b
           WHERE b.transdate BETWEEN %(first)s AND %(last)s AND b.cleared
             AND NOT EXISTS (SELECT 1 FROM reconciliation_links l
                             WHERE l.bank_transaction_id = b.id)
           ORDER BY b.id""",
    ),
    Assertion(
        "Die Mandantenkonfiguration lässt keine Änderung gebuchter Belege zu",
        """SELECT remark FROM (SELECT 'Belege sind änderbar' AS remark FROM defaults
                               WHERE 1 IN (is_changeable, ar_changeable, ap_changeable,
                                           ir_changeable, gl_changeable)
                               UNION ALL
                               SELECT 'Zahlungen sind änderbar' FROM defaults
                               WHERE payments_changeable <> 0) found""",
    ),
    Assertion(
        "Jede verbuchte Bankbewegung ist mit ihren Buchungen verknüpft",
        """SELECT 'Bankbewegung ' || b.id FROM bank_transactions b
           WHERE b.transdate BETWEEN %(first)s AND %(last)s AND b.invoice_amount <> 0
             AND b.itime > (SELECT min(itime) FROM bank_transaction_acc_trans)
             AND NOT EXISTS (SELECT 1 FROM bank_transaction_acc_trans l
                             WHERE l.bank_transaction_id = b.id)
           ORDER BY b.id""",
    ),
    Assertion(
        "Keine Bankbewegung ist mit einer gelöschten Buchung verknüpft",
        """SELECT 'Bankbewegung ' || b.id || ': Buchung ' || l.acc_trans_id
           FROM bank_transactions b
           JOIN bank_transaction_acc_trans l ON l.bank_transaction_id = b.id
           WHERE b.transdate BETWEEN %(first)s AND %(last)s
             AND NOT EXISTS (SELECT 1 FROM acc_trans a WHERE a.acc_trans_id = l.acc_trans_id)
           ORDER BY b.id, l.acc_trans_id""",
    ),
    Assertion(
        "Buchungen sind an ihrem Buchungsdatum angelegt",
        """SELECT 'Buchung ' || acc_trans_id || ': Buchungsdatum ' || gldate
                  || ', angelegt ' || itime::date
           FROM acc_trans
           WHERE transdate BETWEEN %(first)s AND %(last)s AND itime::date <> gldate
           ORDER BY acc_trans_id""",
    ),
    Assertion("Einkaufsbelege sind an ihrem Buchungsdatum angelegt", _for("ap", _BOOKED_LATER)),
    Assertion("Verkaufsbelege sind an ihrem Buchungsdatum angelegt", _for("ar", _BOOKED_LATER)),
    Assertion("Dialogbuchungen sind an ihrem Buchungsdatum angelegt", _for("gl", _BOOKED_LATER)),
)
