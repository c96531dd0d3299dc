-- The cluster's roles, made once by whoever administers it; safe to run again. Passwords are set apart.
--
-- lockstep_owner   owns the tables and runs the migrations
-- lockstep_api     what the API connects as
-- lockstep_worker  what the workers connect as
-- lockstep_fleet   nobody logs in as it: it owns the few functions and views that see across organisations
do $$
declare
    wanted text;
begin
    foreach wanted in array array['lockstep_owner', 'lockstep_api', 'lockstep_worker', 'lockstep_fleet'] loop
        begin
            execute format('create role %I nosuperuser nocreatedb nocreaterole nobypassrls', wanted);
        exception when duplicate_object or unique_violation then
            null;  -- there already, or made by another session this instant
        end;
    end loop;
    alter role lockstep_owner login;
    alter role lockstep_api login;
    alter role lockstep_worker login;
    grant lockstep_fleet to lockstep_owner;
end
$$;
