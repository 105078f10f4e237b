-- Tables that only some jobs touch, for their tests: our own minimal reduction of what the
-- specification of the jobs says about their columns. Comes on top of demo/tenant_schema.sql.

CREATE TABLE validity_tokens (
    id serial PRIMARY KEY,
    scope text NOT NULL,
    token text NOT NULL,
    valid_until timestamp without time zone NOT NULL
);

CREATE TABLE warehouse (
    id integer DEFAULT nextval('id') PRIMARY KEY,
    description text
);

CREATE TABLE bin (
    id integer DEFAULT nextval('id') PRIMARY KEY,
    warehouse_id integer NOT NULL REFERENCES warehouse (id),
    description text
);

CREATE TABLE transfer_type (
    id integer DEFAULT nextval('id') PRIMARY KEY,
    direction character varying(10) NOT NULL,
    description text
);

CREATE TABLE inventory (
    id serial PRIMARY KEY,
    bin_id integer NOT NULL REFERENCES bin (id),
    warehouse_id integer NOT NULL REFERENCES warehouse (id),
    parts_id integer NOT NULL REFERENCES parts (id),
    qty numeric(25,5),
    chargenumber text DEFAULT '' NOT NULL,
    bestbefore date,
    comment text,
    shippingdate date,
    employee_id integer NOT NULL REFERENCES employee (id),
    trans_type_id integer NOT NULL REFERENCES transfer_type (id),
    trans_id integer NOT NULL,
    itime timestamp without time zone DEFAULT now()
);

-- parts.onhand follows the inventory
CREATE FUNCTION update_onhand() RETURNS trigger AS $$
BEGIN
    UPDATE parts SET onhand = COALESCE(onhand, 0) + NEW.qty WHERE id = NEW.parts_id;
    RETURN NEW;
END;
$$ LANGUAGE plpgsql;
CREATE TRIGGER update_onhand AFTER INSERT ON inventory
    FOR EACH ROW EXECUTE FUNCTION update_onhand();

CREATE TABLE ap (
    id integer DEFAULT nextval('glid') PRIMARY KEY,
    invnumber text NOT NULL,
    transdate date DEFAULT current_date,
    gldate date DEFAULT current_date,
    vendor_id integer REFERENCES vendor (id),
    amount numeric(15,5) DEFAULT 0 NOT NULL,
    netamount numeric(15,5) DEFAULT 0 NOT NULL,
    paid numeric(15,5) DEFAULT 0 NOT NULL,
    datepaid date,
    storno boolean DEFAULT false,
    storno_id integer REFERENCES ap (id),
    type text,
    itime timestamp without time zone DEFAULT now()
);

CREATE TABLE gl (
    id integer DEFAULT nextval('glid') PRIMARY KEY,
    reference text,
    transdate date DEFAULT current_date,
    gldate date DEFAULT current_date,
    storno boolean DEFAULT false,
    itime timestamp without time zone DEFAULT now()
);

CREATE TABLE bank_transactions (
    id serial PRIMARY KEY,
    transdate date DEFAULT current_date NOT NULL,
    amount numeric(15,5) NOT NULL,
    invoice_amount numeric(15,5) DEFAULT 0,
    remote_account_number text,
    remote_bank_code text,
    remote_name text,
    cleared boolean DEFAULT false NOT NULL,
    itime timestamp without time zone DEFAULT now()
);

CREATE TABLE bank_transaction_acc_trans (
    id serial PRIMARY KEY,
    bank_transaction_id integer NOT NULL REFERENCES bank_transactions (id),
    acc_trans_id bigint NOT NULL,
    ar_id integer REFERENCES ar (id),
    ap_id integer REFERENCES ap (id),
    gl_id integer REFERENCES gl (id),
    itime timestamp without time zone DEFAULT now()
);

CREATE TABLE reconciliation_links (
    id serial PRIMARY KEY,
    bank_transaction_id integer NOT NULL REFERENCES bank_transactions (id),
    acc_trans_id bigint NOT NULL,
    rec_group integer NOT NULL
);

CREATE TABLE follow_up_created_for_employees (
    id serial PRIMARY KEY,
    follow_up_id integer NOT NULL REFERENCES follow_ups (id) ON DELETE CASCADE,
    employee_id integer NOT NULL REFERENCES employee (id)
);
