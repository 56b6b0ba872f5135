"""The job platform: a REST API over one's own orders.

`orchard.server.app.create_app` makes the application, ``orchard serve`` runs it on a socket, and
`orchard.jobs` runs it inside its own process when no other platform is named. Nothing here is
imported before it is used: the web framework comes with the ``server`` extra.
"""
