-- The tables of kivitendo 4.1.0 tenant databases, as our service reads and writes them.
-- Facts only: columns, types, defaults, keys, triggers that matter. No master data.
-- Used by the demo and by the tests.

CREATE TYPE datev_export_format_enum AS ENUM ('cp1252', 'cp1252-translit', 'utf-8');
CREATE TYPE dunning_creator AS ENUM ('current_employee', 'invoice_employee');
CREATE TYPE email_journal_record_type AS ENUM ('sales_order', 'purchase_order', 'sales_quotation',
    'request_quotation', 'purchase_quotation_intake', 'sales_order_intake', 'sales_delivery_order',
    'purchase_delivery_order', 'supplier_delivery_order', 'rma_delivery_order', 'sales_reclamation',
    'purchase_reclamation', 'invoice', 'invoice_for_advance_payment',
    'invoice_for_advance_payment_storno', 'final_invoice', 'invoice_storno', 'credit_note',
    'credit_note_storno', 'purchase_invoice', 'purchase_credit_note', 'ap_transaction',
    'ar_transaction', 'gl_transaction', 'purchase_order_confirmation', 'catch_all');
CREATE TYPE email_journal_status AS ENUM ('sent', 'send_failed', 'imported');
CREATE TYPE file_object_types AS ENUM ('sales_quotation', 'sales_order', 'sales_order_intake',
    'request_quotation', 'purchase_quotation_intake', 'purchase_order',
    'purchase_order_confirmation', 'sales_delivery_order', 'supplier_delivery_order',
    'purchase_delivery_order', 'rma_delivery_order', 'invoice', 'invoice_for_advance_payment',
    'final_invoice', 'credit_note', 'purchase_invoice', 'sales_reclamation', 'purchase_reclamation',
    'dunning', 'dunning1', 'dunning2', 'dunning3', 'dunning_orig_invoice', 'dunning_invoice',
    'customer', 'vendor', 'gl_transaction', 'part', 'shop_image', 'draft', 'letter', 'project',
    'statement');
CREATE TYPE files_backends AS ENUM ('Filesystem', 'Webdav');
CREATE TYPE invoice_creation_mode AS ENUM ('create_new', 'use_last_created_or_create_new');
CREATE TYPE invoice_mail_settings AS ENUM ('cp', 'invoice_mail', 'invoice_mail_cc_cp');
CREATE TYPE items_recurring_billing_mode AS ENUM ('never', 'once', 'always');
CREATE TYPE order_types AS ENUM ('request_quotation', 'sales_quotation',
    'purchase_quotation_intake', 'purchase_order', 'sales_order_intake', 'sales_order',
    'purchase_order_confirmation');
CREATE TYPE part_type_enum AS ENUM ('part', 'service', 'assembly', 'assortment');

CREATE SEQUENCE acc_trans_id_seq AS bigint START 1 INCREMENT 1;
CREATE SEQUENCE additional_billing_addresses_id_seq AS integer START 1 INCREMENT 1;
CREATE SEQUENCE assembly_assembly_id_seq AS bigint START 1 INCREMENT 1;
CREATE SEQUENCE background_job_histories_id_seq AS integer START 1 INCREMENT 1;
CREATE SEQUENCE background_jobs_id_seq AS integer START 1 INCREMENT 1;
CREATE SEQUENCE countries_id_seq AS integer START 1 INCREMENT 1;
CREATE SEQUENCE currencies_id_seq AS integer START 1 INCREMENT 1;
CREATE SEQUENCE custom_variable_configs_id AS bigint START 1 INCREMENT 1;
CREATE SEQUENCE custom_variables_id AS bigint START 1 INCREMENT 1;
CREATE SEQUENCE defaults_id_seq AS integer START 1 INCREMENT 1;
CREATE SEQUENCE email_journal_attachments_id_seq AS integer START 1 INCREMENT 1;
CREATE SEQUENCE email_journal_id_seq AS integer START 1 INCREMENT 1;
CREATE SEQUENCE exchangerate_id_seq AS integer START 1 INCREMENT 1;
CREATE SEQUENCE files_id_seq AS integer START 1 INCREMENT 1;
CREATE SEQUENCE follow_up_done_id_seq AS integer START 1 INCREMENT 1;
CREATE SEQUENCE follow_up_id AS bigint START 1 INCREMENT 1;
CREATE SEQUENCE follow_up_link_id AS bigint START 1 INCREMENT 1;
CREATE SEQUENCE glid AS bigint START 1 INCREMENT 1;
CREATE SEQUENCE id AS bigint START 1 INCREMENT 1;
CREATE SEQUENCE invoiceid AS bigint START 1 INCREMENT 1;
CREATE SEQUENCE note_id AS bigint START 1 INCREMENT 1;
CREATE SEQUENCE order_statuses_id_seq AS integer START 1 INCREMENT 1;
CREATE SEQUENCE orderitemsid AS bigint START 1 INCREMENT 1;
CREATE SEQUENCE part_classifications_id_seq AS integer START 1 INCREMENT 1;
CREATE SEQUENCE project_status_id_seq AS integer START 1 INCREMENT 1;
CREATE SEQUENCE project_types_id_seq AS integer START 1 INCREMENT 1;
CREATE SEQUENCE record_links_id_seq AS integer START 1 INCREMENT 1;
CREATE SEQUENCE taxzone_charts_id_seq AS integer START 1 INCREMENT 1;
CREATE SEQUENCE units_id_seq AS integer START 1 INCREMENT 1;

CREATE TABLE acc_trans (
    acc_trans_id bigint DEFAULT nextval('acc_trans_id_seq') NOT NULL,
    trans_id integer NOT NULL,
    chart_id integer NOT NULL,
    amount numeric(15,5),
    transdate date DEFAULT ('now'::text)::date,
    gldate date DEFAULT ('now'::text)::date,
    source text,
    cleared boolean DEFAULT false NOT NULL,
    fx_transaction boolean DEFAULT false NOT NULL,
    ob_transaction boolean DEFAULT false NOT NULL,
    cb_transaction boolean DEFAULT false NOT NULL,
    project_id integer,
    memo text,
    taxkey integer,
    itime timestamp without time zone DEFAULT now(),
    mtime timestamp without time zone,
    chart_link text NOT NULL,
    tax_id integer NOT NULL,
    PRIMARY KEY (acc_trans_id)
);

CREATE TABLE additional_billing_addresses (
    id integer DEFAULT nextval('additional_billing_addresses_id_seq') NOT NULL,
    customer_id integer,
    name text,
    department_1 text,
    department_2 text,
    contact text,
    street text,
    zipcode text,
    city text,
    gln text,
    email text,
    phone text,
    fax text,
    default_address boolean DEFAULT false NOT NULL,
    itime timestamp without time zone DEFAULT now() NOT NULL,
    mtime timestamp without time zone DEFAULT now() NOT NULL,
    ustid text,
    taxnumber text,
    dunning_mail text,
    country_id integer,
    PRIMARY KEY (id)
);

CREATE TABLE ar (
    id integer DEFAULT nextval(('glid'::text)) NOT NULL,
    invnumber text NOT NULL,
    transdate date DEFAULT ('now'::text)::date,
    gldate date DEFAULT ('now'::text)::date,
    customer_id integer,
    taxincluded boolean,
    amount numeric(15,5) DEFAULT 0 NOT NULL,
    netamount numeric(15,5) DEFAULT 0 NOT NULL,
    paid numeric(15,5) DEFAULT 0 NOT NULL,
    datepaid date,
    duedate date,
    deliverydate date,
    invoice boolean DEFAULT false,
    shippingpoint text,
    notes text,
    ordnumber text,
    employee_id integer,
    quonumber text,
    cusordnumber text,
    intnotes text,
    department_id integer,
    shipvia text,
    itime timestamp without time zone DEFAULT now(),
    mtime timestamp without time zone,
    cp_id integer,
    language_id integer,
    payment_id integer,
    delivery_customer_id integer,
    delivery_vendor_id integer,
    storno boolean DEFAULT false,
    taxzone_id integer NOT NULL,
    shipto_id integer,
    type text,
    dunning_config_id integer,
    orddate date,
    quodate date,
    globalproject_id integer,
    salesman_id integer,
    marge_total numeric(15,5),
    marge_percent numeric(15,5),
    storno_id integer,
    transaction_description text,
    donumber text,
    invnumber_for_credit_note text,
    direct_debit boolean DEFAULT false,
    delivery_term_id integer,
    currency_id integer NOT NULL,
    tax_point date,
    qrbill_without_amount boolean DEFAULT false,
    billing_address_id integer,
    qr_reference text,
    exchangerate numeric(15,5),
    qr_unstructured_message text,
    tax_point_start date,
    PRIMARY KEY (id)
);

CREATE TABLE assembly (
    id integer NOT NULL,
    parts_id integer NOT NULL,
    qty real,
    bom boolean,
    itime timestamp without time zone DEFAULT now(),
    mtime timestamp without time zone,
    assembly_id integer DEFAULT nextval('assembly_assembly_id_seq') NOT NULL,
    position integer,
    PRIMARY KEY (assembly_id)
);

CREATE TABLE background_job_histories (
    id integer DEFAULT nextval('background_job_histories_id_seq') NOT NULL,
    package_name character varying(255),
    run_at timestamp without time zone,
    status character varying(255),
    result text,
    error text,
    data text,
    description text,
    PRIMARY KEY (id)
);

CREATE TABLE background_jobs (
    id integer DEFAULT nextval('background_jobs_id_seq') NOT NULL,
    type character varying(255),
    package_name character varying(255),
    last_run_at timestamp without time zone,
    next_run_at timestamp without time zone,
    data text,
    active boolean,
    cron_spec character varying(255),
    node_id text,
    description text,
    PRIMARY KEY (id)
);

CREATE TABLE buchungsgruppen (
    id integer DEFAULT nextval(('id'::text)) NOT NULL,
    description text,
    inventory_accno_id integer NOT NULL,
    sortkey integer NOT NULL,
    obsolete boolean DEFAULT false NOT NULL,
    PRIMARY KEY (id)
);

CREATE TABLE business (
    id integer DEFAULT nextval(('id'::text)) NOT NULL,
    description text,
    discount real,
    customernumberinit text,
    salesman boolean DEFAULT false,
    itime timestamp without time zone DEFAULT now(),
    mtime timestamp without time zone,
    PRIMARY KEY (id)
);

CREATE TABLE chart (
    id integer DEFAULT nextval(('id'::text)) NOT NULL,
    accno text NOT NULL,
    description text,
    charttype character(1) DEFAULT 'A'::bpchar,
    category character(1),
    link text NOT NULL,
    taxkey_id integer,
    pos_bwa integer,
    pos_bilanz integer,
    pos_eur integer,
    datevautomatik boolean DEFAULT false,
    itime timestamp without time zone DEFAULT now(),
    mtime timestamp without time zone,
    new_chart_id integer,
    valid_from date,
    pos_er integer,
    invalid boolean DEFAULT false,
    PRIMARY KEY (id)
);
CREATE UNIQUE INDEX chart_accno_key ON chart USING btree (accno);

CREATE TABLE contacts (
    cp_id integer DEFAULT nextval(('id'::text)) NOT NULL,
    cp_title text,
    cp_givenname text,
    cp_name text,
    cp_email text,
    cp_phone1 text,
    cp_phone2 text,
    itime timestamp without time zone DEFAULT now(),
    mtime timestamp without time zone,
    cp_fax text,
    cp_mobile1 text,
    cp_mobile2 text,
    cp_satphone text,
    cp_satfax text,
    cp_project text,
    cp_privatphone text,
    cp_privatemail text,
    cp_abteilung text,
    cp_gender character(1),
    cp_street text,
    cp_zipcode text,
    cp_city text,
    cp_birthday date,
    cp_position text,
    cp_country_id integer,
    cp_number text,
    PRIMARY KEY (cp_id)
);

CREATE TABLE countries (
    id integer DEFAULT nextval('countries_id_seq') NOT NULL,
    iso2 text NOT NULL,
    description_en text NOT NULL,
    description_de text NOT NULL,
    sortorder integer,
    itime timestamp without time zone DEFAULT now() NOT NULL,
    mtime timestamp without time zone,
    PRIMARY KEY (id),
    UNIQUE (iso2)
);

CREATE TABLE currencies (
    id integer DEFAULT nextval('currencies_id_seq') NOT NULL,
    name text NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (name)
);

CREATE TABLE custom_variable_configs (
    id integer DEFAULT nextval('custom_variable_configs_id') NOT NULL,
    name text NOT NULL,
    description text NOT NULL,
    type text NOT NULL,
    module text NOT NULL,
    default_value text,
    options text,
    searchable boolean NOT NULL,
    includeable boolean NOT NULL,
    included_by_default boolean NOT NULL,
    sortkey integer NOT NULL,
    itime timestamp without time zone DEFAULT now(),
    mtime timestamp without time zone,
    flags text,
    first_tab boolean DEFAULT false NOT NULL,
    sync_linked_cv boolean DEFAULT false,
    PRIMARY KEY (id),
    CONSTRAINT custom_variable_configs_name_description_type_module_not_empty CHECK (((type <> ''::text) AND (module <> ''::text) AND (name <> ''::text) AND (description <> ''::text))),
    CONSTRAINT custom_variable_configs_options_not_empty_for_select CHECK (((type <> 'select'::text) OR (COALESCE(options, ''::text) <> ''::text)))
);

CREATE TABLE custom_variables (
    id integer DEFAULT nextval('custom_variables_id') NOT NULL,
    config_id integer NOT NULL,
    trans_id integer NOT NULL,
    bool_value boolean,
    timestamp_value timestamp without time zone,
    text_value text,
    number_value numeric(25,5),
    itime timestamp without time zone DEFAULT now(),
    mtime timestamp without time zone,
    sub_module text DEFAULT ''::text NOT NULL,
    PRIMARY KEY (id)
);

CREATE TABLE customer (
    id integer DEFAULT nextval(('id'::text)) NOT NULL,
    name text NOT NULL,
    department_1 text,
    department_2 text,
    street text,
    zipcode text,
    city text,
    contact text,
    phone text,
    fax text,
    homepage text,
    email text,
    notes text,
    discount real,
    taxincluded boolean,
    creditlimit numeric(15,5) DEFAULT 0,
    customernumber text,
    cc text,
    bcc text,
    business_id integer,
    taxnumber text,
    account_number text,
    bank_code text,
    bank text,
    language text,
    itime timestamp without time zone DEFAULT now(),
    mtime timestamp without time zone,
    obsolete boolean DEFAULT false,
    username text,
    user_password text,
    salesman_id integer,
    c_vendor_id text,
    language_id integer,
    payment_id integer,
    taxzone_id integer NOT NULL,
    greeting text,
    ustid text,
    iban text,
    bic text,
    direct_debit boolean DEFAULT false,
    depositor text,
    taxincluded_checked boolean,
    mandator_id text,
    mandate_date_of_signature date,
    delivery_term_id integer,
    hourly_rate numeric(8,2),
    currency_id integer NOT NULL,
    gln text,
    pricegroup_id integer,
    order_lock boolean DEFAULT false,
    commercial_court text,
    invoice_mail text,
    contact_origin text,
    delivery_order_mail text,
    create_zugferd_invoices integer DEFAULT '-1'::integer NOT NULL,
    natural_person boolean DEFAULT false,
    c_vendor_routing_id text,
    postal_invoice boolean DEFAULT false,
    dunning_mail text,
    dunning_lock boolean DEFAULT false NOT NULL,
    reduction_terms text,
    country_id integer NOT NULL,
    PRIMARY KEY (id)
);

CREATE TABLE defaults (
    inventory_accno_id integer,
    income_accno_id integer,
    expense_accno_id integer,
    fxgain_accno_id integer,
    fxloss_accno_id integer,
    invnumber text,
    sonumber text,
    weightunit character varying(5),
    businessnumber text,
    version character varying(8),
    closedto date,
    revtrans boolean DEFAULT false,
    ponumber text,
    sqnumber text,
    rfqnumber text,
    customernumber text,
    vendornumber text,
    articlenumber text,
    servicenumber text,
    coa text,
    itime timestamp without time zone DEFAULT now(),
    mtime timestamp without time zone,
    rmanumber text,
    cnnumber text,
    accounting_method text,
    inventory_system text,
    profit_determination text,
    dunning_ar_amount_fee integer,
    dunning_ar_amount_interest integer,
    dunning_ar integer,
    stocktaking_warehouse_id integer,
    stocktaking_bin_id integer,
    stocktaking_cutoff_date date,
    pdonumber text,
    sdonumber text,
    stocktaking_qty_threshold numeric(25,5) DEFAULT 0,
    ar_paid_accno_id integer,
    id integer DEFAULT nextval('defaults_id_seq') NOT NULL,
    language_id integer,
    datev_check_on_sales_invoice boolean DEFAULT true,
    datev_check_on_purchase_invoice boolean DEFAULT true,
    datev_check_on_ar_transaction boolean DEFAULT true,
    datev_check_on_ap_transaction boolean DEFAULT true,
    datev_check_on_gl_transaction boolean DEFAULT true,
    payments_changeable integer DEFAULT 0 NOT NULL,
    is_changeable integer DEFAULT 2 NOT NULL,
    ir_changeable integer DEFAULT 2 NOT NULL,
    ar_changeable integer DEFAULT 2 NOT NULL,
    ap_changeable integer DEFAULT 2 NOT NULL,
    gl_changeable integer DEFAULT 2 NOT NULL,
    show_bestbefore boolean DEFAULT false,
    sales_order_show_delete boolean DEFAULT true,
    purchase_order_show_delete boolean DEFAULT true,
    sales_delivery_order_show_delete boolean DEFAULT true,
    purchase_delivery_order_show_delete boolean DEFAULT true,
    is_show_mark_as_paid boolean DEFAULT true,
    ir_show_mark_as_paid boolean DEFAULT true,
    ar_show_mark_as_paid boolean DEFAULT true,
    ap_show_mark_as_paid boolean DEFAULT true,
    warehouse_id integer,
    bin_id integer,
    company text,
    taxnumber text,
    co_ustid text,
    duns text,
    sepa_creditor_id text,
    templates text,
    max_future_booking_interval integer DEFAULT 360,
    precision numeric(15,5) DEFAULT 0.01 NOT NULL,
    webdav boolean DEFAULT false,
    webdav_documents boolean DEFAULT false,
    parts_show_image boolean DEFAULT true,
    parts_listing_image boolean DEFAULT true,
    parts_image_css text DEFAULT 'border:0;float:left;max-width:250px;margin-top:20px:margin-right:10px;margin-left:10px;'::text,
    normalize_vc_names boolean DEFAULT true,
    normalize_part_descriptions boolean DEFAULT true,
    assemblynumber text,
    show_weight boolean DEFAULT false NOT NULL,
    transfer_default boolean DEFAULT true,
    transfer_default_use_master_default_bin boolean DEFAULT false,
    transfer_default_ignore_onhand boolean DEFAULT false,
    warehouse_id_ignore_onhand integer,
    bin_id_ignore_onhand integer,
    balance_startdate_method text,
    currency_id integer NOT NULL,
    customer_hourly_rate numeric(8,2),
    signature text,
    requirement_spec_section_order_part_id integer,
    transfer_default_services boolean DEFAULT true,
    rndgain_accno_id integer,
    rndloss_accno_id integer,
    global_bcc text DEFAULT ''::text,
    customer_projects_only_in_sales boolean DEFAULT false NOT NULL,
    reqdate_interval integer DEFAULT 0,
    require_transaction_description_ps boolean DEFAULT false NOT NULL,
    sales_purchase_order_ship_missing_column boolean DEFAULT false,
    allow_sales_invoice_from_sales_quotation boolean DEFAULT true NOT NULL,
    allow_sales_invoice_from_sales_order boolean DEFAULT true NOT NULL,
    allow_new_purchase_delivery_order boolean DEFAULT true NOT NULL,
    allow_new_purchase_invoice boolean DEFAULT true NOT NULL,
    disabled_price_sources text[],
    bcc_to_login boolean DEFAULT false NOT NULL,
    transport_cost_reminder_article_number_id integer,
    is_transfer_out boolean DEFAULT false NOT NULL,
    ap_chart_id integer NOT NULL,
    ar_chart_id integer NOT NULL,
    create_part_if_not_found boolean DEFAULT false,
    letternumber integer,
    order_always_project boolean DEFAULT false,
    project_status_id integer,
    project_type_id integer,
    feature_balance boolean DEFAULT true NOT NULL,
    feature_datev boolean DEFAULT true NOT NULL,
    feature_erfolgsrechnung boolean DEFAULT false NOT NULL,
    feature_eurechnung boolean DEFAULT true NOT NULL,
    feature_ustva boolean DEFAULT true NOT NULL,
    order_warn_duplicate_parts boolean DEFAULT true,
    show_longdescription_select_item boolean DEFAULT false,
    email_journal integer DEFAULT 2,
    quick_search_modules text[],
    fa_bufa_nr text,
    fa_dauerfrist text,
    fa_steuerberater_city text,
    fa_steuerberater_name text,
    fa_steuerberater_street text,
    fa_steuerberater_tel text,
    fa_voranmeld text,
    doc_delete_printfiles boolean DEFAULT false,
    doc_max_filesize integer DEFAULT 10000000,
    doc_storage boolean DEFAULT false,
    doc_storage_for_documents text DEFAULT 'Filesystem'::text,
    doc_storage_for_attachments text DEFAULT 'Filesystem'::text,
    doc_storage_for_images text DEFAULT 'Filesystem'::text,
    doc_files boolean DEFAULT false,
    doc_files_rootpath text DEFAULT './documents'::text,
    doc_webdav boolean DEFAULT false,
    shipped_qty_require_stock_out boolean DEFAULT false NOT NULL,
    sepa_reference_add_vc_vc_id boolean DEFAULT false,
    assortmentnumber text,
    doc_storage_for_shopimages text DEFAULT 'Filesystem'::text,
    datev_export_format datev_export_format_enum DEFAULT 'cp1252-translit'::datev_export_format_enum,
    order_warn_no_deliverydate boolean DEFAULT true,
    sepa_set_duedate_as_default_exec_date boolean DEFAULT false,
    sepa_set_skonto_date_as_default_exec_date boolean DEFAULT false,
    sepa_set_skonto_date_buffer_in_days integer DEFAULT 0,
    delivery_date_interval integer DEFAULT 0,
    email_attachment_vc_files_checked boolean DEFAULT true,
    email_attachment_part_files_checked boolean DEFAULT true,
    email_attachment_record_files_checked boolean DEFAULT true,
    invoice_mail_settings invoice_mail_settings DEFAULT 'cp'::invoice_mail_settings,
    dunning_creator dunning_creator DEFAULT 'current_employee'::dunning_creator,
    address_street1 text,
    address_street2 text,
    address_zipcode text,
    address_city text,
    workflow_po_ap_chart_id integer,
    carry_over_account_chart_id integer,
    profit_carried_forward_chart_id integer,
    loss_carried_forward_chart_id integer,
    contact_departments_use_textfield boolean,
    contact_titles_use_textfield boolean,
    create_zugferd_invoices integer,
    vc_greetings_use_textfield boolean,
    sales_serial_eq_charge boolean DEFAULT false NOT NULL,
    undo_transfer_interval integer DEFAULT 7,
    create_qrbill_invoices integer,
    customer_ustid_taxnummer_unique boolean DEFAULT false,
    vendor_ustid_taxnummer_unique boolean DEFAULT false,
    sales_delivery_order_check_stocked boolean DEFAULT false,
    purchase_delivery_order_check_stocked boolean DEFAULT false,
    ir_add_doc boolean DEFAULT false NOT NULL,
    ar_add_doc boolean DEFAULT false NOT NULL,
    ap_add_doc boolean DEFAULT false NOT NULL,
    gl_add_doc boolean DEFAULT false NOT NULL,
    reqdate_on boolean DEFAULT true,
    deliverydate_on boolean DEFAULT true,
    sales_delivery_order_check_service boolean DEFAULT true,
    purchase_delivery_order_check_service boolean DEFAULT true,
    produce_assembly_same_warehouse boolean DEFAULT true,
    produce_assembly_transfer_service boolean DEFAULT false,
    p_reclamation_record_number text DEFAULT 0 NOT NULL,
    s_reclamation_record_number text DEFAULT 0 NOT NULL,
    sales_reclamation_show_delete boolean DEFAULT true NOT NULL,
    purchase_reclamation_show_delete boolean DEFAULT true NOT NULL,
    reclamation_warn_no_reqdate boolean DEFAULT true NOT NULL,
    reclamation_warn_duplicate_parts boolean DEFAULT true NOT NULL,
    warn_no_delivery_order_for_invoice boolean DEFAULT false,
    order_warn_no_cusordnumber boolean DEFAULT false,
    partsgroup_required boolean DEFAULT false NOT NULL,
    print_interpolate_variables_in_positions boolean DEFAULT true NOT NULL,
    sales_purchase_record_numbers_changeable boolean DEFAULT false NOT NULL,
    always_record_links_from_order boolean DEFAULT false,
    sudonumber text,
    rdonumber text,
    advance_payment_clearing_chart_id integer,
    advance_payment_taxable_19_id integer,
    advance_payment_taxable_7_id integer,
    soinumber text,
    pqinumber text,
    lock_oe_subversions boolean DEFAULT false NOT NULL,
    qrbill_copy_invnumber boolean DEFAULT false,
    email_sender_sales_quotation text DEFAULT ''::text,
    email_sender_request_quotation text DEFAULT ''::text,
    email_sender_sales_order text DEFAULT ''::text,
    email_sender_purchase_order text DEFAULT ''::text,
    email_sender_invoice text DEFAULT ''::text,
    email_sender_purchase_invoice text DEFAULT ''::text,
    email_sender_letter text DEFAULT ''::text,
    email_sender_purchase_delivery_order text DEFAULT ''::text,
    email_sender_sales_delivery_order text DEFAULT ''::text,
    email_sender_dunning text DEFAULT ''::text,
    dunning_original_invoice_creation_mode invoice_creation_mode DEFAULT 'create_new'::invoice_creation_mode,
    record_links_from_order_with_myself boolean DEFAULT false,
    record_links_from_order_with_quotations boolean DEFAULT false,
    layout_style text,
    allowed_documents_with_no_positions text[],
    fuzzy_skonto boolean DEFAULT true,
    fuzzy_skonto_percentage real DEFAULT 0.5,
    transit_items_chart_id integer,
    webdav_sync_extern boolean DEFAULT false,
    webdav_sync_extern_url text,
    webdav_sync_extern_login text,
    webdav_sync_extern_pass text,
    yearend_method text DEFAULT 'default'::text NOT NULL,
    pocnumber text,
    sepa_export_xml boolean DEFAULT true,
    no_bank_proposals boolean DEFAULT false,
    check_bt_duplicates_endtoend boolean DEFAULT false,
    show_invoice_for_advance_payment boolean DEFAULT true NOT NULL,
    show_sales_order_intake boolean DEFAULT true NOT NULL,
    show_purchase_quotation_intake boolean DEFAULT true NOT NULL,
    show_purchase_order_confirmation boolean DEFAULT true NOT NULL,
    show_sales_reclamation boolean DEFAULT true NOT NULL,
    show_purchase_reclamation boolean DEFAULT true NOT NULL,
    produce_assembly_allow_empty_items boolean DEFAULT false,
    payment_approval boolean DEFAULT false,
    email_subject_transaction_description boolean DEFAULT false,
    order_item_input_position integer DEFAULT 0 NOT NULL,
    email_default_create_new_record_checked boolean DEFAULT true,
    gln text,
    email_attachment_project_files_checked boolean DEFAULT true,
    todo_oe_overdue_days integer DEFAULT 1 NOT NULL,
    zugferd_ap_transaction_use_totals boolean DEFAULT false NOT NULL,
    invoice_mail text,
    address_country_id integer NOT NULL,
    email_paragraph_style_body text DEFAULT ''::text NOT NULL,
    email_paragraph_style_employee_signature text DEFAULT ''::text NOT NULL,
    email_paragraph_style_company_signature text DEFAULT ''::text NOT NULL,
    parts_check_ean boolean DEFAULT true NOT NULL,
    prices_always_free boolean DEFAULT false,
    sepa_amount_editable boolean DEFAULT false NOT NULL,
    sepa_combine_payments boolean DEFAULT true,
    sepa_subtract_credit_notes boolean DEFAULT true,
    managing_directors text,
    registered_seat text,
    commercial_register_entry text,
    commercial_register_place text,
    invoicing_period_sales text DEFAULT ''::text NOT NULL,
    contactnumber text,
    PRIMARY KEY (id)
);

CREATE TABLE delivery_terms (
    id integer DEFAULT nextval('id') NOT NULL,
    description text,
    description_long text,
    sortkey integer NOT NULL,
    itime timestamp without time zone DEFAULT now(),
    mtime timestamp without time zone,
    obsolete boolean DEFAULT false NOT NULL,
    PRIMARY KEY (id)
);

CREATE TABLE department (
    id integer DEFAULT nextval(('id'::text)) NOT NULL,
    description text,
    itime timestamp without time zone DEFAULT now(),
    mtime timestamp without time zone,
    PRIMARY KEY (id)
);

CREATE TABLE email_journal (
    id integer DEFAULT nextval('email_journal_id_seq') NOT NULL,
    sender_id integer,
    "from" text NOT NULL,
    recipients text NOT NULL,
    sent_on timestamp without time zone DEFAULT now() NOT NULL,
    subject text NOT NULL,
    body text NOT NULL,
    headers text NOT NULL,
    extended_status text NOT NULL,
    itime timestamp without time zone DEFAULT now() NOT NULL,
    mtime timestamp without time zone DEFAULT now() NOT NULL,
    email_import_id integer,
    folder text,
    uid integer,
    obsolete boolean DEFAULT false NOT NULL,
    folder_uidvalidity text,
    status email_journal_status NOT NULL,
    record_type email_journal_record_type,
    PRIMARY KEY (id)
);

CREATE TABLE email_journal_attachments (
    id integer DEFAULT nextval('email_journal_attachments_id_seq') NOT NULL,
    position integer NOT NULL,
    email_journal_id integer NOT NULL,
    name text NOT NULL,
    mime_type text NOT NULL,
    content bytea NOT NULL,
    itime timestamp without time zone DEFAULT now() NOT NULL,
    mtime timestamp without time zone DEFAULT now() NOT NULL,
    file_id integer DEFAULT 0 NOT NULL,
    PRIMARY KEY (id)
);

CREATE TABLE employee (
    id integer DEFAULT nextval(('id'::text)) NOT NULL,
    login text,
    startdate date DEFAULT ('now'::text)::date,
    enddate date,
    sales boolean DEFAULT true,
    itime timestamp without time zone DEFAULT now(),
    mtime timestamp without time zone,
    name text,
    deleted boolean DEFAULT false,
    deleted_email text,
    deleted_signature text,
    deleted_tel text,
    deleted_fax text,
    PRIMARY KEY (id)
);
CREATE UNIQUE INDEX employee_login_key ON employee USING btree (login);

CREATE TABLE exchangerate (
    transdate date,
    buy numeric(15,5),
    sell numeric(15,5),
    itime timestamp without time zone DEFAULT now(),
    mtime timestamp without time zone,
    id integer DEFAULT nextval('exchangerate_id_seq') NOT NULL,
    currency_id integer NOT NULL,
    PRIMARY KEY (id)
);

CREATE TABLE file_versions (
    guid text NOT NULL,
    file_id integer NOT NULL,
    version integer NOT NULL,
    file_location text NOT NULL,
    doc_path text NOT NULL,
    backend text NOT NULL,
    itime timestamp without time zone DEFAULT now() NOT NULL,
    mtime timestamp without time zone,
    PRIMARY KEY (guid),
    UNIQUE (guid)
);

CREATE TABLE files (
    id integer DEFAULT nextval('files_id_seq') NOT NULL,
    object_id integer NOT NULL,
    file_name text NOT NULL,
    file_type text NOT NULL,
    mime_type text NOT NULL,
    source text NOT NULL,
    backend_data text,
    title character varying(45),
    description text,
    itime timestamp without time zone DEFAULT now(),
    mtime timestamp without time zone,
    object_type file_object_types NOT NULL,
    print_variant text,
    backend files_backends NOT NULL,
    uid text,
    PRIMARY KEY (id)
);

CREATE TABLE follow_up_done (
    id integer DEFAULT nextval('follow_up_done_id_seq') NOT NULL,
    follow_up_id integer NOT NULL,
    done_at timestamp without time zone DEFAULT now() NOT NULL,
    employee_id integer,
    PRIMARY KEY (id),
    UNIQUE (follow_up_id)
);

CREATE TABLE follow_up_links (
    id integer DEFAULT nextval('follow_up_link_id') NOT NULL,
    follow_up_id integer NOT NULL,
    trans_id integer NOT NULL,
    trans_type text NOT NULL,
    trans_info text,
    itime timestamp without time zone DEFAULT now(),
    mtime timestamp without time zone,
    PRIMARY KEY (id)
);

CREATE TABLE follow_ups (
    id integer DEFAULT nextval('follow_up_id') NOT NULL,
    follow_up_date date NOT NULL,
    note_id integer NOT NULL,
    created_by integer NOT NULL,
    itime timestamp without time zone DEFAULT now(),
    mtime timestamp without time zone,
    PRIMARY KEY (id)
);

CREATE TABLE invoice (
    id integer DEFAULT nextval(('invoiceid'::text)) NOT NULL,
    trans_id integer,
    parts_id integer,
    description text,
    qty numeric(25,5),
    allocated real,
    sellprice numeric(15,5),
    fxsellprice numeric(15,5),
    discount real,
    assemblyitem boolean DEFAULT false,
    project_id integer,
    deliverydate date,
    serialnumber text,
    itime timestamp without time zone DEFAULT now(),
    mtime timestamp without time zone,
    pricegroup_id integer,
    ordnumber text,
    transdate text,
    cusordnumber text,
    unit character varying(20),
    base_qty real,
    subtotal boolean DEFAULT false,
    longdescription text,
    marge_total numeric(15,5),
    marge_percent numeric(15,5),
    lastcost numeric(15,5),
    price_factor_id integer,
    price_factor numeric(15,5) DEFAULT 1,
    marge_price_factor numeric(15,5) DEFAULT 1,
    donumber text,
    position integer NOT NULL,
    active_price_source text DEFAULT ''::text NOT NULL,
    active_discount_source text DEFAULT ''::text NOT NULL,
    inventory_chart_id integer,
    expense_chart_id integer,
    tax_id integer,
    tax_chart_type character varying(20),
    invoicing_period_start date,
    invoicing_period_end date,
    PRIMARY KEY (id)
);

CREATE TABLE language (
    id integer DEFAULT nextval(('id'::text)) NOT NULL,
    description text,
    template_code text,
    article_code text,
    itime timestamp without time zone DEFAULT now(),
    mtime timestamp without time zone,
    output_numberformat text,
    output_dateformat text,
    output_longdates boolean,
    obsolete boolean DEFAULT false,
    PRIMARY KEY (id)
);

CREATE TABLE notes (
    id integer DEFAULT nextval('note_id') NOT NULL,
    subject text,
    body text,
    created_by integer NOT NULL,
    trans_id integer,
    trans_module character varying(10),
    itime timestamp without time zone DEFAULT now(),
    mtime timestamp without time zone,
    PRIMARY KEY (id)
);

CREATE TABLE oe (
    id integer DEFAULT nextval(('id'::text)) NOT NULL,
    ordnumber text NOT NULL,
    transdate date DEFAULT ('now'::text)::date,
    vendor_id integer,
    customer_id integer,
    amount numeric(15,5),
    netamount numeric(15,5),
    reqdate date,
    taxincluded boolean,
    shippingpoint text,
    notes text,
    employee_id integer,
    closed boolean DEFAULT false,
    quonumber text,
    cusordnumber text,
    intnotes text,
    department_id integer,
    itime timestamp without time zone DEFAULT now(),
    mtime timestamp without time zone,
    shipvia text,
    cp_id integer,
    language_id integer,
    payment_id integer,
    delivery_customer_id integer,
    delivery_vendor_id integer,
    taxzone_id integer NOT NULL,
    proforma boolean DEFAULT false,
    shipto_id integer,
    order_probability integer DEFAULT 0 NOT NULL,
    expected_billing_date date,
    globalproject_id integer,
    delivered boolean DEFAULT false,
    salesman_id integer,
    marge_total numeric(15,5),
    marge_percent numeric(15,5),
    transaction_description text,
    delivery_term_id integer,
    currency_id integer NOT NULL,
    exchangerate numeric(15,5),
    tax_point date,
    billing_address_id integer,
    order_status_id integer,
    record_type order_types NOT NULL,
    vendor_confirmation_number text,
    buyer_id integer,
    tax_point_start date,
    PRIMARY KEY (id)
);

CREATE TABLE order_statuses (
    id integer DEFAULT nextval('order_statuses_id_seq') NOT NULL,
    name text NOT NULL,
    description text,
    position integer NOT NULL,
    obsolete boolean DEFAULT false NOT NULL,
    itime timestamp without time zone DEFAULT now(),
    mtime timestamp without time zone,
    PRIMARY KEY (id),
    UNIQUE (name)
);

CREATE TABLE orderitems (
    trans_id integer,
    parts_id integer,
    description text,
    qty numeric(25,5),
    sellprice numeric(15,5),
    discount real,
    project_id integer,
    reqdate date,
    ship real,
    serialnumber text,
    id integer DEFAULT nextval(('orderitemsid'::text)) NOT NULL,
    itime timestamp without time zone DEFAULT now(),
    mtime timestamp without time zone,
    pricegroup_id integer,
    ordnumber text,
    transdate text,
    cusordnumber text,
    unit character varying(20),
    base_qty real,
    subtotal boolean DEFAULT false,
    longdescription text,
    marge_total numeric(15,5),
    marge_percent numeric(15,5),
    lastcost numeric(15,5),
    price_factor_id integer,
    price_factor numeric(15,5) DEFAULT 1,
    marge_price_factor numeric(15,5) DEFAULT 1,
    position integer NOT NULL,
    active_price_source text DEFAULT ''::text NOT NULL,
    active_discount_source text DEFAULT ''::text NOT NULL,
    optional boolean DEFAULT false,
    recurring_billing_mode items_recurring_billing_mode DEFAULT 'always'::items_recurring_billing_mode NOT NULL,
    recurring_billing_invoice_id integer,
    orderer_id integer,
    invoicing_period_start date,
    invoicing_period_end date,
    PRIMARY KEY (id)
);

CREATE TABLE part_classifications (
    id integer DEFAULT nextval('part_classifications_id_seq') NOT NULL,
    description text,
    abbreviation text,
    used_for_purchase boolean DEFAULT true NOT NULL,
    used_for_sale boolean DEFAULT true NOT NULL,
    report_separate boolean DEFAULT false NOT NULL,
    PRIMARY KEY (id)
);

CREATE TABLE parts (
    id integer DEFAULT nextval(('id'::text)) NOT NULL,
    partnumber text NOT NULL,
    description text,
    listprice numeric(15,5),
    sellprice numeric(15,5),
    lastcost numeric(15,5),
    priceupdate date DEFAULT ('now'::text)::date,
    weight real,
    notes text,
    makemodel boolean DEFAULT false,
    rop real,
    shop boolean DEFAULT false,
    obsolete boolean DEFAULT false NOT NULL,
    bom boolean DEFAULT false,
    image text,
    drawing text,
    microfiche text,
    partsgroup_id integer,
    ve integer,
    gv numeric(15,5),
    itime timestamp without time zone DEFAULT now(),
    mtime timestamp without time zone,
    unit character varying(20) NOT NULL,
    formel text,
    not_discountable boolean DEFAULT false,
    buchungsgruppen_id integer,
    payment_id integer,
    ean text,
    price_factor_id integer,
    onhand numeric(25,5) DEFAULT 0,
    stockable boolean DEFAULT false,
    has_sernumber boolean DEFAULT false,
    warehouse_id integer,
    bin_id integer,
    classification_id integer DEFAULT 0,
    part_type part_type_enum NOT NULL,
    order_qty numeric(15,5) DEFAULT 0 NOT NULL,
    order_locked boolean DEFAULT false,
    tariff_code text,
    intnotes text,
    PRIMARY KEY (id),
    UNIQUE (partnumber)
);

CREATE TABLE payment_terms (
    id integer DEFAULT nextval(('id'::text)) NOT NULL,
    description text,
    description_long text,
    terms_netto integer,
    terms_skonto integer,
    percent_skonto real,
    itime timestamp without time zone DEFAULT now(),
    mtime timestamp without time zone,
    sortkey integer NOT NULL,
    auto_calculation boolean NOT NULL,
    description_long_invoice text,
    obsolete boolean DEFAULT false,
    PRIMARY KEY (id)
);

CREATE TABLE periodic_invoices (
    id integer DEFAULT nextval('id') NOT NULL,
    config_id integer NOT NULL,
    ar_id integer NOT NULL,
    period_start_date date NOT NULL,
    itime timestamp without time zone DEFAULT now(),
    PRIMARY KEY (id)
);

CREATE TABLE periodic_invoices_configs (
    id integer DEFAULT nextval('id') NOT NULL,
    oe_id integer NOT NULL,
    periodicity character varying(1) NOT NULL,
    "print" boolean DEFAULT false,
    printer_id integer,
    copies integer,
    active boolean DEFAULT true,
    terminated boolean DEFAULT false,
    start_date date,
    end_date date,
    ar_chart_id integer NOT NULL,
    extend_automatically_by integer,
    first_billing_date date,
    order_value_periodicity character varying(1) NOT NULL,
    direct_debit boolean DEFAULT false NOT NULL,
    send_email boolean DEFAULT false NOT NULL,
    email_recipient_contact_id integer,
    email_recipient_address text,
    email_sender text,
    email_subject text,
    email_body text,
    PRIMARY KEY (id),
    CONSTRAINT periodic_invoices_configs_valid_order_value_periodicity CHECK (((order_value_periodicity)::text = ANY (ARRAY[('p'::character varying)::text, ('m'::character varying)::text, ('q'::character varying)::text, ('b'::character varying)::text, ('y'::character varying)::text, ('2'::character varying)::text, ('3'::character varying)::text, ('4'::character varying)::text, ('5'::character varying)::text]))),
    CONSTRAINT periodic_invoices_configs_valid_periodicity CHECK (((periodicity)::text = ANY (ARRAY[('o'::character varying)::text, ('m'::character varying)::text, ('q'::character varying)::text, ('b'::character varying)::text, ('y'::character varying)::text])))
);

CREATE TABLE price_factors (
    id integer DEFAULT nextval(('id'::text)) NOT NULL,
    description text,
    factor numeric(15,5),
    sortkey integer,
    PRIMARY KEY (id)
);

CREATE TABLE pricegroup (
    id integer DEFAULT nextval(('id'::text)) NOT NULL,
    pricegroup text NOT NULL,
    obsolete boolean DEFAULT false,
    sortkey integer NOT NULL,
    PRIMARY KEY (id)
);

CREATE TABLE printers (
    id integer DEFAULT nextval(('id'::text)) NOT NULL,
    printer_description text NOT NULL,
    printer_command text,
    template_code text,
    PRIMARY KEY (id)
);

CREATE TABLE project (
    id integer DEFAULT nextval(('id'::text)) NOT NULL,
    projectnumber text,
    description text,
    itime timestamp without time zone DEFAULT now(),
    mtime timestamp without time zone,
    active boolean DEFAULT true,
    customer_id integer,
    valid boolean DEFAULT true,
    project_type_id integer NOT NULL,
    start_date date,
    end_date date,
    billable_customer_id integer,
    budget_cost numeric(15,5) DEFAULT 0 NOT NULL,
    order_value numeric(15,5) DEFAULT 0 NOT NULL,
    budget_minutes integer DEFAULT 0 NOT NULL,
    timeframe boolean DEFAULT false NOT NULL,
    project_status_id integer NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (projectnumber)
);

CREATE TABLE project_statuses (
    id integer DEFAULT nextval('project_status_id_seq') NOT NULL,
    name text NOT NULL,
    description text NOT NULL,
    position integer NOT NULL,
    itime timestamp without time zone DEFAULT now(),
    mtime timestamp without time zone,
    PRIMARY KEY (id)
);

CREATE TABLE project_types (
    id integer DEFAULT nextval('project_types_id_seq') NOT NULL,
    position integer NOT NULL,
    description text,
    internal boolean DEFAULT false NOT NULL,
    PRIMARY KEY (id)
);

CREATE TABLE record_links (
    from_table character varying(50) NOT NULL,
    from_id integer NOT NULL,
    to_table character varying(50) NOT NULL,
    to_id integer NOT NULL,
    itime timestamp without time zone DEFAULT now(),
    id integer DEFAULT nextval('record_links_id_seq') NOT NULL,
    PRIMARY KEY (id)
);

CREATE TABLE schema_info (
    tag text NOT NULL,
    login text,
    itime timestamp without time zone DEFAULT now(),
    PRIMARY KEY (tag)
);

CREATE TABLE shipto (
    trans_id integer,
    shiptoname text,
    shiptodepartment_1 text,
    shiptodepartment_2 text,
    shiptostreet text,
    shiptozipcode text,
    shiptocity text,
    shiptocontact text,
    shiptophone text,
    shiptofax text,
    shiptoemail text,
    itime timestamp without time zone DEFAULT now(),
    mtime timestamp without time zone,
    module text,
    shipto_id integer DEFAULT nextval(('id'::text)) NOT NULL,
    shiptocp_gender text,
    shiptogln text,
    shiptocountry_id integer,
    PRIMARY KEY (shipto_id)
);

CREATE TABLE tax (
    chart_id integer,
    rate numeric(15,5) DEFAULT 0 NOT NULL,
    taxkey integer NOT NULL,
    taxdescription text NOT NULL,
    itime timestamp without time zone DEFAULT now(),
    mtime timestamp without time zone,
    id integer DEFAULT nextval(('id'::text)) NOT NULL,
    chart_categories text NOT NULL,
    skonto_sales_chart_id integer,
    skonto_purchase_chart_id integer,
    reverse_charge_chart_id integer,
    PRIMARY KEY (id)
);

CREATE TABLE tax_zones (
    id integer DEFAULT nextval(('id'::text)) NOT NULL,
    description text,
    sortkey integer NOT NULL,
    obsolete boolean DEFAULT false,
    PRIMARY KEY (id)
);

CREATE TABLE taxkeys (
    id integer DEFAULT nextval(('id'::text)) NOT NULL,
    chart_id integer NOT NULL,
    tax_id integer NOT NULL,
    taxkey_id integer NOT NULL,
    pos_ustva integer,
    startdate date NOT NULL,
    PRIMARY KEY (id)
);
CREATE UNIQUE INDEX taxkeys_chartid_startdate ON taxkeys USING btree (chart_id, startdate);

CREATE TABLE taxzone_charts (
    id integer DEFAULT nextval('taxzone_charts_id_seq') NOT NULL,
    taxzone_id integer NOT NULL,
    buchungsgruppen_id integer NOT NULL,
    income_accno_id integer NOT NULL,
    expense_accno_id integer NOT NULL,
    itime timestamp without time zone DEFAULT now(),
    PRIMARY KEY (id)
);

CREATE TABLE units (
    name character varying(20) NOT NULL,
    base_unit character varying(20),
    factor numeric(20,5),
    type character varying(20),
    sortkey integer NOT NULL,
    id integer DEFAULT nextval('units_id_seq') NOT NULL,
    PRIMARY KEY (name),
    UNIQUE (id)
);

CREATE TABLE vendor (
    id integer DEFAULT nextval(('id'::text)) NOT NULL,
    name text NOT NULL,
    department_1 text,
    department_2 text,
    street text,
    zipcode text,
    city text,
    contact text,
    phone text,
    fax text,
    homepage text,
    email text,
    notes text,
    taxincluded boolean,
    vendornumber text,
    cc text,
    bcc text,
    business_id integer,
    taxnumber text,
    discount real,
    creditlimit numeric(15,5),
    account_number text,
    bank_code text,
    bank text,
    language text,
    itime timestamp without time zone DEFAULT now(),
    mtime timestamp without time zone,
    obsolete boolean DEFAULT false,
    username text,
    user_password text,
    salesman_id integer,
    v_customer_id text,
    language_id integer,
    payment_id integer,
    taxzone_id integer NOT NULL,
    greeting text,
    ustid text,
    iban text,
    bic text,
    direct_debit boolean DEFAULT false,
    depositor text,
    delivery_term_id integer,
    currency_id integer NOT NULL,
    gln text,
    natural_person boolean DEFAULT false,
    buyer_id integer,
    country_id integer NOT NULL,
    PRIMARY KEY (id)
);

ALTER TABLE acc_trans ADD FOREIGN KEY (chart_id) REFERENCES chart (id);
ALTER TABLE acc_trans ADD FOREIGN KEY (project_id) REFERENCES project (id);
ALTER TABLE acc_trans ADD FOREIGN KEY (tax_id) REFERENCES tax (id);
ALTER TABLE additional_billing_addresses ADD FOREIGN KEY (country_id) REFERENCES countries (id);
ALTER TABLE additional_billing_addresses ADD FOREIGN KEY (customer_id) REFERENCES customer (id);
ALTER TABLE ar ADD FOREIGN KEY (customer_id) REFERENCES customer (id);
ALTER TABLE ar ADD FOREIGN KEY (billing_address_id) REFERENCES additional_billing_addresses (id);
ALTER TABLE ar ADD FOREIGN KEY (cp_id) REFERENCES contacts (cp_id);
ALTER TABLE ar ADD FOREIGN KEY (currency_id) REFERENCES currencies (id);
ALTER TABLE ar ADD FOREIGN KEY (delivery_term_id) REFERENCES delivery_terms (id);
ALTER TABLE ar ADD FOREIGN KEY (department_id) REFERENCES department (id);
ALTER TABLE ar ADD FOREIGN KEY (employee_id) REFERENCES employee (id);
ALTER TABLE ar ADD FOREIGN KEY (globalproject_id) REFERENCES project (id);
ALTER TABLE ar ADD FOREIGN KEY (language_id) REFERENCES language (id);
ALTER TABLE ar ADD FOREIGN KEY (payment_id) REFERENCES payment_terms (id);
ALTER TABLE ar ADD FOREIGN KEY (salesman_id) REFERENCES employee (id);
ALTER TABLE ar ADD FOREIGN KEY (shipto_id) REFERENCES shipto (shipto_id);
ALTER TABLE ar ADD FOREIGN KEY (storno_id) REFERENCES ar (id);
ALTER TABLE ar ADD FOREIGN KEY (taxzone_id) REFERENCES tax_zones (id);
ALTER TABLE assembly ADD FOREIGN KEY (id) REFERENCES parts (id);
ALTER TABLE assembly ADD FOREIGN KEY (parts_id) REFERENCES parts (id);
ALTER TABLE buchungsgruppen ADD FOREIGN KEY (inventory_accno_id) REFERENCES chart (id);
ALTER TABLE contacts ADD FOREIGN KEY (cp_country_id) REFERENCES countries (id);
ALTER TABLE custom_variables ADD FOREIGN KEY (config_id) REFERENCES custom_variable_configs (id);
ALTER TABLE customer ADD FOREIGN KEY (business_id) REFERENCES business (id);
ALTER TABLE customer ADD FOREIGN KEY (country_id) REFERENCES countries (id);
ALTER TABLE customer ADD FOREIGN KEY (currency_id) REFERENCES currencies (id);
ALTER TABLE customer ADD FOREIGN KEY (delivery_term_id) REFERENCES delivery_terms (id);
ALTER TABLE customer ADD FOREIGN KEY (language_id) REFERENCES language (id);
ALTER TABLE customer ADD FOREIGN KEY (payment_id) REFERENCES payment_terms (id);
ALTER TABLE customer ADD FOREIGN KEY (pricegroup_id) REFERENCES pricegroup (id);
ALTER TABLE customer ADD FOREIGN KEY (taxzone_id) REFERENCES tax_zones (id);
ALTER TABLE defaults ADD FOREIGN KEY (address_country_id) REFERENCES countries (id);
ALTER TABLE defaults ADD FOREIGN KEY (ap_chart_id) REFERENCES chart (id);
ALTER TABLE defaults ADD FOREIGN KEY (ar_chart_id) REFERENCES chart (id);
ALTER TABLE defaults ADD FOREIGN KEY (carry_over_account_chart_id) REFERENCES chart (id);
ALTER TABLE defaults ADD FOREIGN KEY (currency_id) REFERENCES currencies (id);
ALTER TABLE defaults ADD FOREIGN KEY (loss_carried_forward_chart_id) REFERENCES chart (id);
ALTER TABLE defaults ADD FOREIGN KEY (profit_carried_forward_chart_id) REFERENCES chart (id);
ALTER TABLE defaults ADD FOREIGN KEY (project_status_id) REFERENCES project_statuses (id);
ALTER TABLE defaults ADD FOREIGN KEY (project_type_id) REFERENCES project_types (id);
ALTER TABLE defaults ADD FOREIGN KEY (requirement_spec_section_order_part_id) REFERENCES parts (id) ON DELETE SET NULL;
ALTER TABLE email_journal ADD FOREIGN KEY (sender_id) REFERENCES employee (id);
ALTER TABLE email_journal_attachments ADD FOREIGN KEY (email_journal_id) REFERENCES email_journal (id) ON DELETE CASCADE;
ALTER TABLE exchangerate ADD FOREIGN KEY (currency_id) REFERENCES currencies (id);
ALTER TABLE file_versions ADD FOREIGN KEY (file_id) REFERENCES files (id) ON DELETE CASCADE;
ALTER TABLE follow_up_done ADD FOREIGN KEY (employee_id) REFERENCES employee (id);
ALTER TABLE follow_up_done ADD FOREIGN KEY (follow_up_id) REFERENCES follow_ups (id) ON DELETE CASCADE;
ALTER TABLE follow_up_links ADD FOREIGN KEY (follow_up_id) REFERENCES follow_ups (id) ON DELETE CASCADE;
ALTER TABLE follow_ups ADD FOREIGN KEY (created_by) REFERENCES employee (id);
ALTER TABLE follow_ups ADD FOREIGN KEY (note_id) REFERENCES notes (id);
ALTER TABLE invoice ADD FOREIGN KEY (parts_id) REFERENCES parts (id);
ALTER TABLE invoice ADD FOREIGN KEY (expense_chart_id) REFERENCES chart (id);
ALTER TABLE invoice ADD FOREIGN KEY (inventory_chart_id) REFERENCES chart (id);
ALTER TABLE invoice ADD FOREIGN KEY (price_factor_id) REFERENCES price_factors (id);
ALTER TABLE invoice ADD FOREIGN KEY (pricegroup_id) REFERENCES pricegroup (id);
ALTER TABLE invoice ADD FOREIGN KEY (project_id) REFERENCES project (id);
ALTER TABLE invoice ADD FOREIGN KEY (tax_id) REFERENCES tax (id);
ALTER TABLE invoice ADD FOREIGN KEY (unit) REFERENCES units (name);
ALTER TABLE notes ADD FOREIGN KEY (created_by) REFERENCES employee (id);
ALTER TABLE oe ADD FOREIGN KEY (billing_address_id) REFERENCES additional_billing_addresses (id);
ALTER TABLE oe ADD FOREIGN KEY (buyer_id) REFERENCES employee (id);
ALTER TABLE oe ADD FOREIGN KEY (cp_id) REFERENCES contacts (cp_id);
ALTER TABLE oe ADD FOREIGN KEY (currency_id) REFERENCES currencies (id);
ALTER TABLE oe ADD FOREIGN KEY (customer_id) REFERENCES customer (id);
ALTER TABLE oe ADD FOREIGN KEY (delivery_customer_id) REFERENCES customer (id);
ALTER TABLE oe ADD FOREIGN KEY (delivery_term_id) REFERENCES delivery_terms (id);
ALTER TABLE oe ADD FOREIGN KEY (delivery_vendor_id) REFERENCES vendor (id);
ALTER TABLE oe ADD FOREIGN KEY (department_id) REFERENCES department (id);
ALTER TABLE oe ADD FOREIGN KEY (employee_id) REFERENCES employee (id);
ALTER TABLE oe ADD FOREIGN KEY (globalproject_id) REFERENCES project (id);
ALTER TABLE oe ADD FOREIGN KEY (language_id) REFERENCES language (id);
ALTER TABLE oe ADD FOREIGN KEY (order_status_id) REFERENCES order_statuses (id);
ALTER TABLE oe ADD FOREIGN KEY (payment_id) REFERENCES payment_terms (id);
ALTER TABLE oe ADD FOREIGN KEY (salesman_id) REFERENCES employee (id);
ALTER TABLE oe ADD FOREIGN KEY (shipto_id) REFERENCES shipto (shipto_id);
ALTER TABLE oe ADD FOREIGN KEY (taxzone_id) REFERENCES tax_zones (id);
ALTER TABLE oe ADD FOREIGN KEY (vendor_id) REFERENCES vendor (id);
ALTER TABLE orderitems ADD FOREIGN KEY (orderer_id) REFERENCES employee (id);
ALTER TABLE orderitems ADD FOREIGN KEY (parts_id) REFERENCES parts (id) ON DELETE RESTRICT;
ALTER TABLE orderitems ADD FOREIGN KEY (price_factor_id) REFERENCES price_factors (id) ON DELETE RESTRICT;
ALTER TABLE orderitems ADD FOREIGN KEY (pricegroup_id) REFERENCES pricegroup (id) ON DELETE RESTRICT;
ALTER TABLE orderitems ADD FOREIGN KEY (project_id) REFERENCES project (id) ON DELETE SET NULL;
ALTER TABLE orderitems ADD FOREIGN KEY (recurring_billing_invoice_id) REFERENCES ar (id) ON DELETE SET NULL;
ALTER TABLE orderitems ADD FOREIGN KEY (trans_id) REFERENCES oe (id) ON DELETE CASCADE;
ALTER TABLE orderitems ADD FOREIGN KEY (unit) REFERENCES units (name);
ALTER TABLE parts ADD FOREIGN KEY (buchungsgruppen_id) REFERENCES buchungsgruppen (id);
ALTER TABLE parts ADD FOREIGN KEY (classification_id) REFERENCES part_classifications (id);
ALTER TABLE parts ADD FOREIGN KEY (payment_id) REFERENCES payment_terms (id);
ALTER TABLE parts ADD FOREIGN KEY (price_factor_id) REFERENCES price_factors (id);
ALTER TABLE parts ADD FOREIGN KEY (unit) REFERENCES units (name);
ALTER TABLE periodic_invoices ADD FOREIGN KEY (ar_id) REFERENCES ar (id) ON DELETE CASCADE;
ALTER TABLE periodic_invoices ADD FOREIGN KEY (config_id) REFERENCES periodic_invoices_configs (id) ON DELETE CASCADE;
ALTER TABLE periodic_invoices_configs ADD FOREIGN KEY (ar_chart_id) REFERENCES chart (id) ON DELETE RESTRICT;
ALTER TABLE periodic_invoices_configs ADD FOREIGN KEY (email_recipient_contact_id) REFERENCES contacts (cp_id) ON DELETE SET NULL;
ALTER TABLE periodic_invoices_configs ADD FOREIGN KEY (oe_id) REFERENCES oe (id) ON DELETE CASCADE;
ALTER TABLE periodic_invoices_configs ADD FOREIGN KEY (printer_id) REFERENCES printers (id) ON DELETE SET NULL;
ALTER TABLE project ADD FOREIGN KEY (billable_customer_id) REFERENCES customer (id);
ALTER TABLE project ADD FOREIGN KEY (customer_id) REFERENCES customer (id);
ALTER TABLE project ADD FOREIGN KEY (project_status_id) REFERENCES project_statuses (id);
ALTER TABLE project ADD FOREIGN KEY (project_type_id) REFERENCES project_types (id);
ALTER TABLE shipto ADD FOREIGN KEY (shiptocountry_id) REFERENCES countries (id);
ALTER TABLE tax ADD FOREIGN KEY (chart_id) REFERENCES chart (id);
ALTER TABLE tax ADD FOREIGN KEY (skonto_purchase_chart_id) REFERENCES chart (id);
ALTER TABLE tax ADD FOREIGN KEY (skonto_sales_chart_id) REFERENCES chart (id);
ALTER TABLE taxkeys ADD FOREIGN KEY (chart_id) REFERENCES chart (id);
ALTER TABLE taxkeys ADD FOREIGN KEY (tax_id) REFERENCES tax (id);
ALTER TABLE taxzone_charts ADD FOREIGN KEY (buchungsgruppen_id) REFERENCES buchungsgruppen (id);
ALTER TABLE taxzone_charts ADD FOREIGN KEY (expense_accno_id) REFERENCES chart (id);
ALTER TABLE taxzone_charts ADD FOREIGN KEY (income_accno_id) REFERENCES chart (id);
ALTER TABLE taxzone_charts ADD FOREIGN KEY (taxzone_id) REFERENCES tax_zones (id);
ALTER TABLE units ADD FOREIGN KEY (base_unit) REFERENCES units (name);
ALTER TABLE vendor ADD FOREIGN KEY (business_id) REFERENCES business (id);
ALTER TABLE vendor ADD FOREIGN KEY (buyer_id) REFERENCES employee (id);
ALTER TABLE vendor ADD FOREIGN KEY (country_id) REFERENCES countries (id);
ALTER TABLE vendor ADD FOREIGN KEY (currency_id) REFERENCES currencies (id);
ALTER TABLE vendor ADD FOREIGN KEY (delivery_term_id) REFERENCES delivery_terms (id);
ALTER TABLE vendor ADD FOREIGN KEY (language_id) REFERENCES language (id);
ALTER TABLE vendor ADD FOREIGN KEY (payment_id) REFERENCES payment_terms (id);
ALTER TABLE vendor ADD FOREIGN KEY (taxzone_id) REFERENCES tax_zones (id);

-- The other indexes that matter for the work of the jobs.
CREATE INDEX acc_trans_trans_id_key ON acc_trans (trans_id);
CREATE INDEX acc_trans_chart_id_key ON acc_trans (chart_id);
CREATE INDEX acc_trans_transdate_key ON acc_trans (transdate);
CREATE INDEX ar_transdate_key ON ar (transdate);
CREATE INDEX ar_invnumber_key ON ar (lower(invnumber));
CREATE INDEX ar_ordnumber_key ON ar (lower(ordnumber));
CREATE INDEX ar_customer_id_key ON ar (customer_id);
CREATE INDEX invoice_trans_id_key ON invoice (trans_id);
CREATE INDEX oe_transdate_key ON oe (transdate);
CREATE INDEX oe_ordnumber_key ON oe (lower(ordnumber));
CREATE INDEX orderitems_trans_id_key ON orderitems (trans_id);
CREATE INDEX record_links_from_key ON record_links (from_table, from_id);
CREATE INDEX record_links_to_key ON record_links (to_table, to_id);
CREATE INDEX custom_variables_trans_config_key ON custom_variables (trans_id, config_id);
CREATE INDEX taxkeys_chartid_key ON taxkeys (chart_id);
CREATE INDEX shipto_trans_id_key ON shipto (trans_id);

-- mtime is the time of the transaction that changed the row last.
CREATE FUNCTION set_mtime() RETURNS trigger AS $$
BEGIN
    NEW.mtime := now();
    RETURN NEW;
END;
$$ LANGUAGE plpgsql;

CREATE TRIGGER mtime_acc_trans BEFORE UPDATE ON acc_trans FOR EACH ROW EXECUTE FUNCTION set_mtime();
CREATE TRIGGER mtime_additional_billing_addresses BEFORE UPDATE ON additional_billing_addresses FOR EACH ROW EXECUTE FUNCTION set_mtime();
CREATE TRIGGER mtime_ar BEFORE UPDATE ON ar FOR EACH ROW EXECUTE FUNCTION set_mtime();
CREATE TRIGGER mtime_chart BEFORE UPDATE ON chart FOR EACH ROW EXECUTE FUNCTION set_mtime();
CREATE TRIGGER mtime_contacts BEFORE UPDATE ON contacts FOR EACH ROW EXECUTE FUNCTION set_mtime();
CREATE TRIGGER mtime_countries BEFORE UPDATE ON countries FOR EACH ROW EXECUTE FUNCTION set_mtime();
CREATE TRIGGER mtime_custom_variable_configs BEFORE UPDATE ON custom_variable_configs FOR EACH ROW EXECUTE FUNCTION set_mtime();
CREATE TRIGGER mtime_custom_variables BEFORE UPDATE ON custom_variables FOR EACH ROW EXECUTE FUNCTION set_mtime();
CREATE TRIGGER mtime_customer BEFORE UPDATE ON customer FOR EACH ROW EXECUTE FUNCTION set_mtime();
CREATE TRIGGER mtime_delivery_terms BEFORE UPDATE ON delivery_terms FOR EACH ROW EXECUTE FUNCTION set_mtime();
CREATE TRIGGER mtime_department BEFORE UPDATE ON department FOR EACH ROW EXECUTE FUNCTION set_mtime();
CREATE TRIGGER mtime_email_journal BEFORE UPDATE ON email_journal FOR EACH ROW EXECUTE FUNCTION set_mtime();
CREATE TRIGGER mtime_email_journal_attachments BEFORE UPDATE ON email_journal_attachments FOR EACH ROW EXECUTE FUNCTION set_mtime();
CREATE TRIGGER mtime_file_versions BEFORE UPDATE ON file_versions FOR EACH ROW EXECUTE FUNCTION set_mtime();
CREATE TRIGGER mtime_follow_up_links BEFORE UPDATE ON follow_up_links FOR EACH ROW EXECUTE FUNCTION set_mtime();
CREATE TRIGGER mtime_follow_ups BEFORE UPDATE ON follow_ups FOR EACH ROW EXECUTE FUNCTION set_mtime();
CREATE TRIGGER mtime_invoice BEFORE UPDATE ON invoice FOR EACH ROW EXECUTE FUNCTION set_mtime();
CREATE TRIGGER mtime_notes BEFORE UPDATE ON notes FOR EACH ROW EXECUTE FUNCTION set_mtime();
CREATE TRIGGER mtime_oe BEFORE UPDATE ON oe FOR EACH ROW EXECUTE FUNCTION set_mtime();
CREATE TRIGGER mtime_order_statuses BEFORE UPDATE ON order_statuses FOR EACH ROW EXECUTE FUNCTION set_mtime();
CREATE TRIGGER mtime_orderitems BEFORE UPDATE ON orderitems FOR EACH ROW EXECUTE FUNCTION set_mtime();
CREATE TRIGGER mtime_parts BEFORE UPDATE ON parts FOR EACH ROW EXECUTE FUNCTION set_mtime();
CREATE TRIGGER mtime_payment_terms BEFORE UPDATE ON payment_terms FOR EACH ROW EXECUTE FUNCTION set_mtime();
CREATE TRIGGER mtime_project BEFORE UPDATE ON project FOR EACH ROW EXECUTE FUNCTION set_mtime();
CREATE TRIGGER mtime_project_statuses BEFORE UPDATE ON project_statuses FOR EACH ROW EXECUTE FUNCTION set_mtime();
CREATE TRIGGER mtime_tax BEFORE UPDATE ON tax FOR EACH ROW EXECUTE FUNCTION set_mtime();
CREATE TRIGGER mtime_vendor BEFORE UPDATE ON vendor FOR EACH ROW EXECUTE FUNCTION set_mtime();

-- An order that becomes closed marks its linked, still open follow-ups as done.
CREATE FUNCTION oe_closed_follow_ups_done() RETURNS trigger AS $$
BEGIN
    INSERT INTO follow_up_done (follow_up_id, done_at)
    SELECT DISTINCT link.follow_up_id, now()::timestamp
      FROM follow_up_links link
     WHERE link.trans_id = NEW.id
       AND link.trans_type IN ('sales_order', 'sales_quotation', 'purchase_order',
                               'request_quotation', 'sales_order_intake')
       AND NOT EXISTS (SELECT 1 FROM follow_up_done done WHERE done.follow_up_id = link.follow_up_id);
    RETURN NEW;
END;
$$ LANGUAGE plpgsql;

CREATE TRIGGER oe_closed_follow_ups_done AFTER UPDATE ON oe
    FOR EACH ROW WHEN (NEW.closed AND OLD.closed IS DISTINCT FROM true)
    EXECUTE FUNCTION oe_closed_follow_ups_done();
