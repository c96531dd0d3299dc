-- How many requests a minute an organisation may ask for, beside how many it asks for: its administrators choose within what
-- the operator allows. An organisation made by an older version is allowed what it was made with, and at least the usual.
alter table organisation
    add column requests_per_minute_limit integer not null default 50;
update organisation set requests_per_minute_limit = greatest(requests_per_minute_limit, requests_per_minute);
alter table organisation
    add constraint organisation_requests_per_minute_limit_check
        check (requests_per_minute_limit between requests_per_minute and 10000000);

create function organisation_is_allowed_what_it_is_made_with() returns trigger
    language plpgsql
    as $$
begin
    new.requests_per_minute_limit := greatest(new.requests_per_minute_limit, new.requests_per_minute);
    return new;
end
$$;
create trigger organisation_is_allowed_what_it_is_made_with
    before insert on organisation
    for each row execute function organisation_is_allowed_what_it_is_made_with();

grant update (requests_per_minute) on organisation to lockstep_api;
