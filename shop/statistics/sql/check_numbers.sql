-- Payments that are counted for two attempts: the gateway and its number, found, expected.
SELECT gateway || ' ' || provider_reference, 'on attempts ' || string_agg(reference, ', ' ORDER BY id), 'on one attempt'
FROM payments_paymentattempt
WHERE provider_reference <> ''
GROUP BY gateway, provider_reference
HAVING count(*) > 1
ORDER BY min(id)
