-- The tables of kivitendo 4.1.0 authentication database, as our service reads and writes them.
-- Facts only: columns, types, defaults, keys, triggers that matter. No master data.
-- Used by the demo and by the tests.

CREATE SCHEMA auth;

CREATE SEQUENCE auth.clients_id_seq AS integer START 1 INCREMENT 1;
CREATE SEQUENCE auth.user_id_seq AS bigint START 1 INCREMENT 1;

CREATE TABLE auth."user" (
    id integer DEFAULT nextval('auth.user_id_seq') NOT NULL,
    login text NOT NULL,
    password text,
    PRIMARY KEY (id),
    UNIQUE (login)
);

CREATE TABLE auth.user_config (
    user_id integer NOT NULL,
    cfg_key text NOT NULL,
    cfg_value text,
    PRIMARY KEY (user_id, cfg_key)
);

CREATE TABLE auth.clients (
    id integer DEFAULT nextval('auth.clients_id_seq') NOT NULL,
    name text NOT NULL,
    dbhost text NOT NULL,
    dbport integer DEFAULT 5432 NOT NULL,
    dbname text NOT NULL,
    dbuser text NOT NULL,
    dbpasswd text NOT NULL,
    is_default boolean DEFAULT false NOT NULL,
    task_server_user_id integer,
    PRIMARY KEY (id),
    UNIQUE (dbhost, dbport, dbname),
    UNIQUE (name)
);

CREATE TABLE auth.clients_users (
    client_id integer NOT NULL,
    user_id integer NOT NULL,
    PRIMARY KEY (client_id, user_id)
);

CREATE TABLE auth.session (
    id text NOT NULL,
    ip_address inet,
    mtime timestamp without time zone,
    PRIMARY KEY (id)
);

CREATE TABLE auth.session_content (
    session_id text NOT NULL,
    sess_key text NOT NULL,
    sess_value text,
    auto_restore boolean,
    PRIMARY KEY (session_id, sess_key)
);

CREATE TABLE auth.schema_info (
    tag text NOT NULL,
    login text,
    itime timestamp without time zone DEFAULT now(),
    PRIMARY KEY (tag)
);

ALTER TABLE auth.user_config ADD FOREIGN KEY (user_id) REFERENCES auth."user" (id) ON DELETE CASCADE;
ALTER TABLE auth.clients ADD FOREIGN KEY (task_server_user_id) REFERENCES auth."user" (id);
ALTER TABLE auth.clients_users ADD FOREIGN KEY (client_id) REFERENCES auth.clients (id) ON DELETE CASCADE;
ALTER TABLE auth.clients_users ADD FOREIGN KEY (user_id) REFERENCES auth."user" (id) ON DELETE CASCADE;
ALTER TABLE auth.session_content ADD FOREIGN KEY (session_id) REFERENCES auth.session (id) ON DELETE CASCADE;
