# frozen_string_literal: true

# Prints what Vagrant makes of a folder's Vagrantfile: machines in their order, each with its provisioners, as JSON.
require "json"
require "vagrant"

folder, home = ARGV
environment = Vagrant::Environment.new(cwd: folder, home_path: home)
machines = environment.machine_names.to_h do |name|
  vm = environment.vagrantfile.machine_config(name, nil, nil)[:config].vm
  steps = vm.provisioners.map do |each|
    does = each.type == :shell ? each.config.inline.strip : each.config.destination
    [each.name, each.run || "once", does, each.type]
  end
  [name, steps]
end
puts JSON.generate(machines)
