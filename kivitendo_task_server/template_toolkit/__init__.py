"""The part of Perl's Template Toolkit that kivitendo's mail templates use.

A template is translated to Jinja2 and rendered in its sandbox, with plain data only: dictionaries,
lists, texts, numbers, dates. What is understood:

* ``[% %]``, or ``<% %>`` in a template without ``[% %]``; chomp flags ``-``, ``=``, ``~``, ``+``;
  comments (``[%# %]`` and ``#`` to the end of the line); several directives between semicolons
* ``IF``, ``UNLESS``, ``ELSIF``, ``ELSE``, ``FOREACH x IN list`` (also ``x = list``, ``FOR``, and
  ``loop.count`` and its like), ``NEXT``, ``LAST``, ``SET``, ``DEFAULT``, ``GET``, ``FILTER``,
  ``END``; ``IF`` and ``UNLESS`` behind an expression; ``USE`` is ignored
* dotted access, numbers and texts, ``==``, ``!=``, comparisons, ``AND``, ``OR``, ``NOT``,
  ``? :``, ``+ - * / %``, ``_`` to join texts, lists in brackets
* the methods and filters of :mod:`kivitendo_task_server.template_toolkit.runtime`

Everything else (``INCLUDE``, ``BLOCK``, ``PERL``, …) is an error with its line.
"""

from kivitendo_task_server.template_toolkit.errors import TemplateError
from kivitendo_task_server.template_toolkit.rendering import render, render_file

__all__ = ["TemplateError", "render", "render_file"]
