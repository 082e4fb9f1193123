output "network" {
  description = "The network, once Google's services are joined to it where that was asked for."
  value       = google_compute_network.this.id
  depends_on  = [google_service_networking_connection.services]
}

output "subnets" {
  description = "The subnets by purpose."
  value       = { for name, subnet in google_compute_subnetwork.this : name => subnet.id }
  depends_on  = [google_compute_firewall.spark]
}
